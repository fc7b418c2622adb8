// Package engine says what runs the C API: WASM in this process, or the native library.
package engine

import "context"

//go:generate cargo run -q -p caudal-gen

// A Pointer is an address in the memory of an engine; 0 is NULL.
type Pointer uint64

// An Engine is the C API over an address space. What lies above it is the same for all.
type Engine interface {
	// Call calls a function. Its arguments stand in stack, floats as their bits; the result replaces the first. An
	// error is a mistake in caudal: the memory may be half written, and the engine is of no use after it.
	Call(function Function, stack []uint64) error
	// View gives n bytes of memory. They are good until the next Call.
	View(p Pointer, n int) []byte
	// Text gives a copy of the text at an address, up to its NUL.
	Text(p Pointer) string
	// Word is the size of an address, 4 or 8 bytes.
	Word() int
	// Shared tells whether many threads may call it at once. Memory of a shared engine never moves.
	Shared() bool
	// Watch makes calls that follow end with the code `cancelled` when ctx is done. Shared engines do not watch: their
	// calls are cancelled through limits.
	Watch(ctx context.Context)
	// Size is how many bytes the memory has, 0 if it is that of the process.
	Size() uint64
	// Closer gives what frees the memory. It does not hold the engine.
	Closer() func()
}
