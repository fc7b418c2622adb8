package caudal

import (
	"encoding/binary"
	"math"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// frameSize is how many bytes of arguments a frame holds; what does not fit gets a block of its own.
const frameSize = 16 << 10

// A frame is what calls of the C API are made with: its arguments lie in a piece of the engine's memory, which leaving
// the frame gives back. After an error that comes of the frame itself every call of it gives that error.
type frame struct {
	space  *space
	engine engine.Engine
	word   int
	base   engine.Pointer
	used   int
	blocks []block
	stack  [12]uint64
	err    error
}

type block struct {
	at   engine.Pointer
	size int
}

// raw calls a function that gives no error; its result.
func (f *frame) raw(function engine.Function, arguments ...uint64) uint64 {
	if !f.space.shared && f.space.broken != nil && f.err != nil {
		return 0
	}
	copy(f.stack[:], arguments)
	if err := f.engine.Call(function, f.stack[:]); err != nil {
		f.err = internal("a mistake in caudal: " + err.Error() + "; what was in its memory is of no use any more")
		f.space.broken = f.err
		return 0
	}
	return f.stack[0]
}

// call calls a function that gives an error or NULL.
func (f *frame) call(function engine.Function, arguments ...uint64) error {
	if f.err != nil {
		return f.err
	}
	at := engine.Pointer(f.raw(function, arguments...))
	if f.err != nil {
		return f.err
	}
	if at == 0 {
		return nil
	}
	err := f.readError(at)
	f.raw(engine.ErrorFree, uint64(at))
	return err
}

// free frees a handle.
func (f *frame) free(function engine.Function, at engine.Pointer) {
	if at != 0 {
		f.raw(function, uint64(at))
	}
}

func (f *frame) readError(at engine.Pointer) error {
	fields := f.engine.View(at, 8+4*f.word)
	code := int32(binary.LittleEndian.Uint32(fields))
	line := int(binary.LittleEndian.Uint32(fields[4:]))
	var texts [4]engine.Pointer
	for i := range texts {
		texts[i] = f.pointer(fields[8+i*f.word:])
	}
	return &Error{
		Code:     codeOf(code),
		Message:  f.text(texts[0]),
		Op:       f.text(texts[1]),
		Argument: f.text(texts[2]),
		File:     f.text(texts[3]),
		Line:     line,
	}
}

// text gives the text at an address, "" at NULL.
func (f *frame) text(at engine.Pointer) string {
	if at == 0 {
		return ""
	}
	return f.engine.Text(at)
}

func (f *frame) pointer(field []byte) engine.Pointer {
	if f.word == 4 {
		return engine.Pointer(binary.LittleEndian.Uint32(field))
	}
	return engine.Pointer(binary.LittleEndian.Uint64(field))
}

// reserve gives memory that the caller gives back; 0 if there is none.
func (f *frame) reserve(size int) engine.Pointer {
	return engine.Pointer(f.raw(engine.Alloc, uint64(size)))
}

// room gives memory for arguments, on 8 bytes, until the frame is left.
func (f *frame) room(size int) engine.Pointer {
	if f.err != nil {
		return f.base
	}
	size = (size + 7) &^ 7
	if f.used+size <= frameSize {
		at := f.base + engine.Pointer(f.used)
		f.used += size
		return at
	}
	at := f.reserve(size)
	if at == 0 {
		if f.err == nil {
			f.err = noMemory()
		}
		return f.base
	}
	f.blocks = append(f.blocks, block{at, size})
	return at
}

// write gives memory that holds data. After an error of the frame it holds nothing, and calls are refused.
func (f *frame) write(data []byte) uint64 {
	at := f.room(max(len(data), 1))
	if f.err == nil {
		copy(f.engine.View(at, len(data)), data)
	}
	return uint64(at)
}

// string gives text for an argument, with its length.
func (f *frame) string(text string) (at, length uint64) {
	p := f.room(max(len(text), 1))
	if f.err == nil {
		copy(f.engine.View(p, len(text)), text)
	}
	return uint64(p), uint64(len(text))
}

// slot gives a place for a result, which holds 0.
func (f *frame) slot() uint64 { return f.words(1, nil) }

// words gives an array of n addresses or sizes: those given, then 0.
func (f *frame) words(n int, values []uint64) uint64 {
	at := f.room(max(n, 1) * 8)
	if f.err != nil {
		return uint64(at)
	}
	view := f.engine.View(at, max(n, 1)*8)
	clear(view)
	for i, value := range values {
		f.setWord(view, i, value)
	}
	return uint64(at)
}

func (f *frame) setWord(view []byte, i int, value uint64) {
	if f.word == 4 {
		binary.LittleEndian.PutUint32(view[4*i:], uint32(value))
	} else {
		binary.LittleEndian.PutUint64(view[8*i:], value)
	}
}

// numbers gives an array of uint32.
func (f *frame) numbers(values []uint32) uint64 {
	at := f.room(max(len(values), 1) * 4)
	if f.err == nil {
		view := f.engine.View(at, 4*len(values))
		for i, value := range values {
			binary.LittleEndian.PutUint32(view[4*i:], value)
		}
	}
	return uint64(at)
}

// names gives an array of texts that end with a NUL.
func (f *frame) names(names []string) uint64 {
	pointers := make([]uint64, len(names))
	for i, name := range names {
		pointers[i], _ = f.string(name + "\x00")
	}
	return f.words(len(names), pointers)
}

// load gives the address or size at a place.
func (f *frame) load(at uint64) engine.Pointer {
	return f.pointer(f.engine.View(engine.Pointer(at), f.word))
}

// load32 gives the 32 bits at a place.
func (f *frame) load32(at uint64) uint32 {
	return binary.LittleEndian.Uint32(f.engine.View(engine.Pointer(at), 4))
}

// float gives the bits of an argument that is a float.
func float(value float64) uint64 { return math.Float64bits(value) }

// bytes calls a function whose last argument receives bytes; a copy of these.
func (f *frame) bytes(function engine.Function, arguments ...uint64) ([]byte, error) {
	at, n, err := f.held(function, arguments...)
	if err != nil {
		return nil, err
	}
	data := append([]byte(nil), f.engine.View(f.pointer(f.engine.View(at, f.word)), n)...)
	f.free(engine.BytesFree, at)
	return data, nil
}

// held is bytes without the copy: the handle of the bytes, which the caller frees, and how many they are.
func (f *frame) held(function engine.Function, arguments ...uint64) (engine.Pointer, int, error) {
	at, err := f.out(function, arguments...)
	if err != nil {
		return 0, 0, err
	}
	return at, int(f.load(uint64(at) + uint64(f.word))), nil
}

// out calls a function whose last argument receives an address; that address.
func (f *frame) out(function engine.Function, arguments ...uint64) (engine.Pointer, error) {
	slot := f.slot()
	var all [12]uint64
	n := copy(all[:], arguments)
	all[n] = slot
	if err := f.call(function, all[:n+1]...); err != nil {
		return 0, err
	}
	return f.load(slot), nil
}
