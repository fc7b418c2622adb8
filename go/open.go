package caudal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// Load opens a program file and makes a session of it: [Open] and [Program.Session] with the same options.
func Load(path string, options *Options) (*Session, error) {
	p, err := Open(path, options)
	if err != nil {
		return nil, err
	}
	return p.Session(options)
}

// Open opens a program file, or any safetensors file, which has state and no functions. Of the options it uses the
// limits.
//
// Errors: ErrArgument for an empty path, ErrIO if it cannot be read, ErrFormat if it is damaged or something else, ErrNewer if it needs a newer caudal,
// ErrMemory and ErrDeadline at the limits.
func Open(path string, options *Options) (*Program, error) {
	if path == "" {
		return nil, refuse(CodeArgument, "open", "path", "the path is empty")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fileError("open", path, err)
	}
	defer file.Close()
	return openFile(file, path, options)
}

// OpenFS is Open for a file of a file system, such as one that is embedded.
//
// Errors: those of Open; ErrArgument if fsys is nil.
func OpenFS(fsys fs.FS, name string, options *Options) (*Program, error) {
	switch {
	case fsys == nil:
		return nil, refuse(CodeArgument, "open", "fsys", "the file system is nil")
	case name == "":
		return nil, refuse(CodeArgument, "open", "name", "the name is empty")
	}
	file, err := fsys.Open(name)
	if err != nil {
		return nil, fileError("open", name, err)
	}
	defer file.Close()
	return openFile(file, name, options)
}

// Read is Open for what a reader gives until its end.
//
// Errors: those of Open; ErrArgument if r is nil.
func Read(r io.Reader, options *Options) (*Program, error) {
	if r == nil {
		return nil, refuse(CodeArgument, "read", "r", "the reader is nil")
	}
	limit := int64(math.MaxInt64)
	if memory := options.value().Limits.Memory; memory > 0 && memory < math.MaxInt64 {
		// One more tells that there are too many.
		limit = int64(memory) + 1
	}
	data, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, fileError("read", theData, err)
	}
	return readProgram(bytes.NewReader(data), len(data), theData, options)
}

// theData is what the core's messages call a file that it has no name of.
const theData = "the data"

func openFile(file fs.File, name string, options *Options) (*Program, error) {
	about, err := file.Stat()
	if err != nil {
		return nil, fileError("open", name, err)
	}
	if !about.Mode().IsRegular() {
		return nil, fileError("open", name, errors.New("it is not a regular file"))
	}
	return readProgram(file, int(about.Size()), name, options)
}

// fileError is the error of a file operation that the system refused, in the core's words.
func fileError(action, name string, err error) error {
	text := err.Error()
	var number syscall.Errno
	if errors.As(err, &number) {
		// As Rust writes it.
		text = fmt.Sprintf("%s (os error %d)", capital(number.Error()), int(number))
	}
	e := refuse(CodeIO, "", "", "cannot %s %s: %s", action, name, text)
	e.cause = err
	return e
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// readProgram reads a file of that size straight into memory that becomes the state's.
func readProgram(r io.Reader, size int, name string, options *Options) (*Program, error) {
	s, err := ownSpace()
	if err != nil {
		return nil, err
	}
	return s.receive(size, name, options.value().Limits, nil, func(fill func([]byte) error) error {
		piece := make([]byte, min(size, savedPiece))
		for done := 0; done < size; done += len(piece) {
			piece = piece[:min(len(piece), size-done)]
			if _, err := io.ReadFull(r, piece); err != nil {
				return fileError("read", name, err)
			}
			if err := fill(piece); err != nil {
				return err
			}
		}
		return nil
	})
}

// receive reads a program of that size from pieces that content gives, in order.
func (s *space) receive(
	size int, name string, limits Limits, info *programInfo, content func(fill func([]byte) error) error,
) (*Program, error) {
	f, err := s.enter()
	if err != nil {
		return nil, err
	}
	held, err := f.limits(limits)
	var file, data engine.Pointer
	if err == nil && limits.Memory > 0 && uint64(size) > limits.Memory {
		err = refuse(CodeMemory, "", "", "%s: %d bytes more than the 0 in use pass the limit of %d bytes",
			name, size, limits.Memory)
	}
	if err == nil {
		file, err = f.newTensor(Uint8, []int{size}, 0, size)
	}
	if err == nil {
		data = engine.Pointer(f.raw(engine.TensorDataMut, uint64(file)))
		err = f.err
	}
	f.leave()
	if err != nil {
		return nil, err
	}
	defer s.bury(engine.TensorFree, file)
	err = content(func(piece []byte) error {
		f, err := s.enter()
		if err != nil {
			return err
		}
		defer f.leave()
		copy(f.engine.View(data, len(piece)), piece)
		data += engine.Pointer(len(piece))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if f, err = s.enter(); err != nil {
		return nil, err
	}
	defer f.leave()
	at, err := f.out(engine.ProgramReadTensor, uint64(file), held.address())
	if err != nil {
		return nil, named(err, name)
	}
	p, err := s.program(f, at, info, false)
	if err == nil {
		p.limits = held
	}
	return p, err
}

// named puts a file's name in the place of what the core calls it.
func named(err error, name string) error {
	var e *Error
	if errors.As(err, &e) {
		if rest, found := strings.CutPrefix(e.Message, theData); found {
			e.Message = name + rest
		}
	}
	return err
}
