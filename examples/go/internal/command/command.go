// Package command is what the commands here share: a command line with one file, signals, exit codes.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// A UsageError is a mistake in the command line.
type UsageError struct{ Message string }

// Error gives the message.
func (e *UsageError) Error() string { return e.Message }

// Main runs a command with the arguments of the process and a context that ends at SIGINT and SIGTERM. It exits with 0
// if that went well or help was asked for, 2 for a mistake in the command line, 1 for any other error, which it prints.
func Main(run func(ctx context.Context, arguments []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	var usage *UsageError
	if errors.As(err, &usage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// File reads a command line of flags and one file, in any order, and gives the file. For --help it prints what the
// command does, and all flags with their defaults.
//
// Errors: flag.ErrHelp after --help; a UsageError.
func File(flags *flag.FlagSet, about string, arguments []string) (string, error) {
	flags.Init(flags.Name(), flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	var files []string
	for {
		err := flags.Parse(arguments)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Printf("usage: %s FILE [flags]\n\n%s\n\n", flags.Name(), about)
			flags.SetOutput(os.Stdout)
			flags.PrintDefaults()
			return "", err
		}
		if err != nil {
			return "", &UsageError{err.Error() + "; see --help"}
		}
		if flags.NArg() == 0 {
			break
		}
		files, arguments = append(files, flags.Arg(0)), flags.Args()[1:]
	}
	if len(files) != 1 {
		return "", &UsageError{fmt.Sprintf("give one file, not %d; see --help", len(files))}
	}
	return files[0], nil
}
