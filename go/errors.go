package caudal

import (
	"context"
	"fmt"
)

// A Code is a kind of error, the same word in every language. It is an error itself, to be used with [errors.Is].
type Code string

// The codes of errors.
const (
	CodeArgument    Code = "argument"
	CodeDType       Code = "dtype"
	CodeShape       Code = "shape"
	CodeIndex       Code = "index"
	CodeName        Code = "name"
	CodeClosed      Code = "closed"
	CodeFormat      Code = "format"
	CodeNewer       Code = "newer"
	CodeIO          Code = "io"
	CodeMemory      Code = "memory"
	CodeDeadline    Code = "deadline"
	CodeCancelled   Code = "cancelled"
	CodeDevice      Code = "device"
	CodeUnsupported Code = "unsupported"
	CodeInternal    Code = "internal"
)

// Error gives the code as text.
func (c Code) Error() string { return "caudal: " + string(c) }

// What [errors.Is] matches an [Error] with, by its code.
var (
	// ErrArgument is a value that an argument or attr cannot take.
	ErrArgument error = CodeArgument
	// ErrDType is a dtype that does not fit.
	ErrDType error = CodeDType
	// ErrShape is a shape that does not fit.
	ErrShape error = CodeShape
	// ErrIndex is an index outside its range, in a session with Debug.
	ErrIndex error = CodeIndex
	// ErrName is a name that nothing has; the message lists those that there are.
	ErrName error = CodeName
	// ErrClosed is a session that was closed.
	ErrClosed error = CodeClosed
	// ErrFormat is a file or text that is not what it says; a file that needs a newer caudal is one, too.
	ErrFormat error = CodeFormat
	// ErrNewer is a file that needs a newer caudal.
	ErrNewer error = CodeNewer
	// ErrIO is a file operation that the operating system refused; what it said is wrapped.
	ErrIO error = CodeIO
	// ErrMemory is the memory limit, or no memory at all.
	ErrMemory error = CodeMemory
	// ErrDeadline is the time limit, that of a context among them.
	ErrDeadline error = CodeDeadline
	// ErrCancelled is a context that was cancelled.
	ErrCancelled error = CodeCancelled
	// ErrDevice is a device that is missing or failed.
	ErrDevice error = CodeDevice
	// ErrUnsupported is something that is not supported here.
	ErrUnsupported error = CodeUnsupported
	// ErrInternal is a mistake in caudal.
	ErrInternal error = CodeInternal
)

// In the order of their numbers in the C API, which begin with 1.
var codes = [...]Code{
	CodeArgument, CodeDType, CodeShape, CodeIndex, CodeName, CodeClosed, CodeFormat, CodeNewer, CodeIO, CodeMemory,
	CodeDeadline, CodeCancelled, CodeDevice, CodeUnsupported, CodeInternal,
}

func codeOf(number int32) Code {
	if number < 1 || int(number) > len(codes) {
		return CodeInternal
	}
	return codes[number-1]
}

// An Error is what every function of this package fails with.
type Error struct {
	// Code is the kind of error.
	Code Code
	// Op is the op, or the program's function, that refused; "" if none did.
	Op string
	// Argument is the input or attr that does not fit; "" if it is none.
	Argument string
	// File and Line are the user's line where it is known, else "" and 0.
	File string
	Line int
	// Message is the whole text: op, what is wrong, (file:line).
	Message string

	cause error
}

// Error gives the message.
func (e *Error) Error() string { return e.Message }

// Unwrap gives what the operating system or the context said, if they did.
func (e *Error) Unwrap() error { return e.cause }

// Is matches a code; a deadline also matches [context.DeadlineExceeded], a cancelled call [context.Canceled].
func (e *Error) Is(target error) bool {
	switch target {
	case e.Code:
		return true
	case ErrFormat:
		return e.Code == CodeNewer
	case context.DeadlineExceeded:
		return e.Code == CodeDeadline
	case context.Canceled:
		return e.Code == CodeCancelled
	}
	return false
}

// refuse makes an error with text of the same form as the core's.
func refuse(code Code, op, argument, format string, values ...any) *Error {
	text := fmt.Sprintf(format, values...)
	if op != "" {
		text = op + ": " + text
	}
	return &Error{Code: code, Op: op, Argument: argument, Message: text}
}

func internal(text string) *Error { return &Error{Code: CodeInternal, Message: text} }

// ended is the error of a call whose context is done.
func ended(op string, ctx context.Context) error {
	err := refuse(CodeCancelled, op, "", "the call was cancelled")
	if ctx.Err() == context.DeadlineExceeded {
		err = refuse(CodeDeadline, op, "", "the call took longer than its limit in seconds")
	}
	err.cause = context.Cause(ctx)
	return err
}

// quote gives a name in quotation marks, as every language's messages do.
func quote(name string) string { return "'" + name + "'" }
