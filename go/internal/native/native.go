//go:build caudal_native

// Package native runs the C API of the static library through cgo.
//
// The library is made by `cargo build --release -p caudal-c` and looked for in target/release of the repository;
// elsewhere say where it lies with CGO_LDFLAGS=-L/FOLDER.
package native

/*
#cgo CFLAGS: -I${SRCDIR}/../../../c_api/include
#cgo LDFLAGS: ${SRCDIR}/../../../build/c/lib/libcaudal.a -lgcc_s -lm -ldl -lpthread
#cgo noescape call_function
#cgo nocallback call_function

#include "call.h"

static void call_function(int function, uint64_t *stack) { call(function, stack); }
*/
import "C"

import (
	"context"
	"unsafe"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// Library is the engine; its memory is that of the process.
type Library struct{}

// Call implements [engine.Engine].
func (Library) Call(function engine.Function, stack []uint64) error {
	C.call_function(C.int(function), (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(stack))))
	return nil
}

// address makes a pointer of an address of the library's memory, which Go's collector does not move.
func address(p engine.Pointer) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// View implements [engine.Engine].
func (Library) View(p engine.Pointer, n int) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(address(p)), n)
}

// Text implements [engine.Engine].
func (Library) Text(p engine.Pointer) string { return C.GoString((*C.char)(address(p))) }

// Word implements [engine.Engine].
func (Library) Word() int { return 8 }

// Shared implements [engine.Engine].
func (Library) Shared() bool { return true }

// Watch implements [engine.Engine].
func (Library) Watch(context.Context) {}

// Size implements [engine.Engine].
func (Library) Size() uint64 { return 0 }

// Closer implements [engine.Engine].
func (Library) Closer() func() { return func() {} }
