package caudal

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A Tensor is dense, row-major data in Go's memory, with a dtype and dims.
type Tensor struct {
	dtype DType
	dims  []int
	data  []byte
}

// Tensors are tensors by name: the inputs or outputs of a call, or state.
type Tensors map[string]*Tensor

// NewTensor makes a tensor of data, whose length is the product of the dims; without dims it is a scalar, and data has
// one element. The tensor holds data itself and no copy: do not write it while a call uses the tensor.
//
// Errors: ErrShape if data has another length, or a dim is negative.
func NewTensor[T Element](data []T, dims ...int) (*Tensor, error) {
	count := 1
	for _, dim := range dims {
		if dim < 0 {
			return nil, refuse(CodeShape, "NewTensor", "dims", "%d is not a size", dim)
		}
		if dim != 0 && count > maxElements/dim {
			return nil, refuse(CodeShape, "NewTensor", "dims", "a tensor of shape %v is larger than memory can be", shapeText(dims))
		}
		count *= dim
	}
	if count != len(data) {
		return nil, refuse(CodeShape, "NewTensor", "data", "%d elements do not fill the shape %s", len(data), shapeText(dims))
	}
	return &Tensor{dtypeOf[T](), append([]int(nil), dims...), bytesOf(data)}, nil
}

const maxElements = 1<<48 - 1

// MustTensor is NewTensor for what is known to fit, such as literals; it panics where NewTensor gives an error.
func MustTensor[T Element](data []T, dims ...int) *Tensor {
	t, err := NewTensor(data, dims...)
	if err != nil {
		panic(err)
	}
	return t
}

// Data gives the elements of a tensor in row-major order: the tensor's own memory, not a copy.
//
// Errors: ErrArgument if t is nil, ErrDType if T is not the type of its dtype.
func Data[T Element](t *Tensor) ([]T, error) {
	return dataOf[T]("Data", t)
}

// dataOf is Data for the function that is named.
func dataOf[T Element](op string, t *Tensor) ([]T, error) {
	if t == nil {
		return nil, refuse(CodeArgument, op, "t", "the tensor is nil")
	}
	if wanted := dtypeOf[T](); wanted != t.dtype {
		var zero T
		return nil, refuse(CodeDType, op, "t", "the tensor is %s, the elements of which are not %T", t, zero)
	}
	if len(t.data) == 0 {
		return []T{}, nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.data))), len(t.data)/t.dtype.Size()), nil
}

// Scalar gives the only element of a tensor.
//
// Errors: those of Data; ErrShape if it has none or several.
func Scalar[T Element](t *Tensor) (T, error) {
	data, err := dataOf[T]("Scalar", t)
	if err != nil {
		var zero T
		return zero, err
	}
	if len(data) != 1 {
		var zero T
		return zero, refuse(CodeShape, "Scalar", "t", "the tensor is %s, which has %d elements", t, len(data))
	}
	return data[0], nil
}

// DType is what its elements are.
func (t *Tensor) DType() DType { return t.dtype }

// Dims gives its sizes.
func (t *Tensor) Dims() []int { return append([]int(nil), t.dims...) }

// Len is how many elements it has.
func (t *Tensor) Len() int { return len(t.data) / t.dtype.Size() }

// Spec gives its dtype and dims.
func (t *Tensor) Spec() Spec {
	spec := Spec{DType: t.dtype}
	for _, dim := range t.dims {
		spec.Dims = append(spec.Dims, Size(dim))
	}
	return spec
}

// String gives its dtype and dims, such as float32[2, 3].
func (t *Tensor) String() string { return t.dtype.String() + shapeText(t.dims) }

func shapeText(dims []int) string {
	return "[" + strings.Trim(strings.ReplaceAll(fmt.Sprint(dims), " ", ", "), "[]") + "]"
}

// smallTensor is up to how many bytes data is passed with the call that makes the tensor.
const smallTensor = 4 << 10

// tensor makes a tensor of the engine with a copy of t's data; the caller frees it.
func (f *frame) tensor(t *Tensor) (engine.Pointer, error) {
	var data uint64
	if len(t.data) <= smallTensor {
		data = f.write(t.data)
	}
	at, err := f.newTensor(t.dtype, t.dims, data, len(t.data))
	if err == nil && data == 0 {
		view, err := f.writable(at, len(t.data))
		if err != nil {
			return 0, err
		}
		copy(view, t.data)
	}
	return at, err
}

// newTensor makes a tensor of the engine: with the data at an address, or zeros.
func (f *frame) newTensor(dtype DType, dims []int, data uint64, size int) (engine.Pointer, error) {
	sizes := f.room(max(8*len(dims), 1))
	if f.err == nil {
		view := f.engine.View(sizes, 8*len(dims))
		for i, dim := range dims {
			binary.LittleEndian.PutUint64(view[8*i:], uint64(dim))
		}
	}
	return f.out(engine.TensorNew, uint64(dtype), uint64(sizes), uint64(len(dims)), data, uint64(size))
}

// writable gives the memory of a tensor of the engine that nobody else holds.
func (f *frame) writable(at engine.Pointer, size int) ([]byte, error) {
	data := f.raw(engine.TensorDataMut, uint64(at))
	if f.err != nil {
		return nil, f.err
	}
	return f.engine.View(engine.Pointer(data), size), nil
}

// view gives a tensor of the engine, with data in the engine's memory: it is good until the next call.
func (f *frame) view(at engine.Pointer) *Tensor {
	fields := f.engine.View(at, 4*f.word+8)
	data, sizes := f.pointer(fields), f.pointer(fields[f.word:])
	rank, size := int(f.pointer(fields[2*f.word:])), int(f.pointer(fields[3*f.word:]))
	// The dims of most tensors lie with them.
	made := &struct {
		Tensor
		few [4]int
	}{}
	t := &made.Tensor
	t.dtype = DType(binary.LittleEndian.Uint32(fields[4*f.word:]))
	if rank > 0 {
		t.dims = append(made.few[:0], make([]int, rank)...)
		view := f.engine.View(sizes, 8*rank)
		for i := range t.dims {
			t.dims[i] = int(binary.LittleEndian.Uint64(view[8*i:]))
		}
	}
	if data != 0 {
		t.data = f.engine.View(data, size)
	}
	return t
}

// take gives a tensor of the engine that the caller owns, with a copy of its data, and frees it. What is on a device is
// waited for.
func (f *frame) take(at engine.Pointer) (*Tensor, error) {
	t := f.view(at)
	if device := f.engine.View(at, 4*f.word+8)[4*f.word+4:]; binary.LittleEndian.Uint32(device) != 0 {
		name, length := f.string("cpu")
		there, err := f.out(engine.TensorTo, uint64(at), name, length, 0)
		f.free(engine.TensorFree, at)
		if err != nil {
			return nil, err
		}
		return f.take(there)
	}
	if size := len(t.data); size > 0 {
		// Of words, so that elements of any dtype lie as they must.
		data := bytesOf(make([]uint64, (size+7)/8))[:size]
		copy(data, t.data)
		t.data = data
	}
	f.free(engine.TensorFree, at)
	return t, nil
}

// takeAll takes so many tensors whose pointers begin at an address.
func (f *frame) takeAll(at uint64, count int) ([]*Tensor, error) {
	taken := make([]*Tensor, count)
	var first error
	for i := range taken {
		var err error
		if taken[i], err = f.take(f.load(at + uint64(i*f.word))); err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return nil, first
	}
	return taken, nil
}
