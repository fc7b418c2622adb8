package caudal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// SaveFile saves the program: the file is the old one or the whole new one, whatever happens. It is written beside its
// place under another name, flushed to the disk and renamed. It keeps the permissions of a file that it replaces; a link
// stays, and the file that it leads to is replaced.
//
// Errors: ErrArgument for an empty path, ErrIO if it cannot be written.
func (p *Program) SaveFile(path string) error {
	if path == "" {
		return refuse(CodeArgument, "save", "path", "the path is empty")
	}
	err := p.replace(path)
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return fileError("save", path, err)
}

func (p *Program) replace(path string) error {
	target, err := targetOf(path)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o666)
	about, err := os.Stat(target)
	switch {
	case err == nil && !about.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case err == nil:
		mode = 0o600
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	temporary, err := createBeside(target, mode)
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	err = p.Save(temporary)
	if err == nil && about != nil {
		err = temporary.Chmod(about.Mode().Perm())
	}
	if err == nil {
		err = temporary.Sync()
	}
	if closed := temporary.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temporary.Name(), target)
	}
	if err != nil {
		return err
	}
	flushFolder(filepath.Dir(target))
	return nil
}

// targetOf gives the file that a path means, links followed; it need not be there.
func targetOf(path string) (string, error) {
	const most = 40
	for range most {
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
	}
	return "", errors.New("too many links")
}

// createBeside makes a new file in the folder of target, with a name that nothing has.
func createBeside(target string, mode fs.FileMode) (*os.File, error) {
	var unique [8]byte
	// It never fails.
	_, _ = rand.Read(unique[:])
	name := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+"."+hex.EncodeToString(unique[:]))
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
}

// flushFolder makes the new name last, where the system can: some refuse it, and need it not.
func flushFolder(folder string) {
	if open, err := os.Open(folder); err == nil {
		_ = open.Sync()
		_ = open.Close()
	}
}
