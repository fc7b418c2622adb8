package caudal

import (
	"strings"
	"unsafe"
)

// A DType says what the elements of a tensor are. The zero DType is none; where an attr takes a DType, that is the
// attr's default.
type DType uint8

// The dtypes.
const (
	Bool DType = iota + 1
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float16
	BFloat16
	Float32
	Float64
)

var dtypes = [...]struct {
	name string
	size int
}{
	{"no dtype", 0}, {"bool", 1}, {"int8", 1}, {"int16", 2}, {"int32", 4}, {"int64", 8}, {"uint8", 1}, {"uint16", 2},
	{"uint32", 4}, {"uint64", 8}, {"float16", 2}, {"bfloat16", 2}, {"float32", 4}, {"float64", 8},
}

// ParseDType gives the dtype of a name such as float32.
func ParseDType(name string) (DType, error) {
	for i, each := range dtypes[1:] {
		if each.name == name {
			return DType(i + 1), nil
		}
	}
	var known []string
	for _, each := range dtypes[1:] {
		known = append(known, each.name)
	}
	return 0, refuse(CodeDType, "", "dtype", "no dtype is named %s; there are %s", quote(name), strings.Join(known, ", "))
}

// String gives the name, such as float32.
func (d DType) String() string {
	if int(d) >= len(dtypes) {
		d = 0
	}
	return dtypes[d].name
}

// Size is how many bytes an element takes.
func (d DType) Size() int {
	if int(d) >= len(dtypes) {
		d = 0
	}
	return dtypes[d].size
}

// An Element is a Go type that the elements of a tensor have.
type Element interface {
	bool | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | Float16Bits | BFloat16Bits | float32 | float64
}

// dtypeOf gives the dtype whose elements are T.
func dtypeOf[T Element]() DType {
	var zero T
	switch any(zero).(type) {
	case bool:
		return Bool
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case Float16Bits:
		return Float16
	case BFloat16Bits:
		return BFloat16
	case float32:
		return Float32
	default:
		return Float64
	}
}

// bytesOf gives the memory of a slice.
func bytesOf[T Element](data []T) []byte {
	if len(data) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(data[0])))
}
