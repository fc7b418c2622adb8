package caudal

import (
	"fmt"
	"strconv"
	"strings"
)

// A Dim is a size of a shape: a number, or text where it is known when a function is called.
type Dim struct {
	symbol string
	size   int
}

// Size is the dim of that size.
func Size(size int) Dim { return Dim{size: size} }

// Symbol is a dim that is a name such as batch, or arithmetic over names such as 2*n+1.
func Symbol(text string) Dim {
	if size, err := strconv.Atoi(text); err == nil {
		return Size(size)
	}
	return Dim{symbol: text}
}

// Dims makes dims of ints and texts: Dims("batch", 28, 28, 1). It panics for what is neither of these nor a Dim.
func Dims(sizes ...any) []Dim {
	dims := make([]Dim, len(sizes))
	for i, size := range sizes {
		switch size := size.(type) {
		case int:
			dims[i] = Size(size)
		case string:
			dims[i] = Symbol(size)
		case Dim:
			dims[i] = size
		default:
			panic(fmt.Sprintf("caudal: Dims: %T is neither an int nor a string nor a Dim", size))
		}
	}
	return dims
}

// Size gives the size, and whether it is a number.
func (d Dim) Size() (size int, known bool) { return d.size, d.symbol == "" }

// String gives the number or text.
func (d Dim) String() string {
	if d.symbol != "" {
		return d.symbol
	}
	return strconv.Itoa(d.size)
}

// A Spec is a dtype and dims: what is known of a tensor before it is computed.
type Spec struct {
	DType DType
	Dims  []Dim
}

// String gives text such as float32[batch, 784].
func (s Spec) String() string {
	dims := make([]string, len(s.Dims))
	for i, dim := range s.Dims {
		dims[i] = dim.String()
	}
	return s.DType.String() + "[" + strings.Join(dims, ", ") + "]"
}

// ParseSpec gives the spec of text such as float32[batch, 784]; float32[] is a scalar. What arithmetic a dim may hold is
// checked where the spec is used.
//
// Errors: ErrArgument for other text, ErrDType for a dtype that there is not.
func ParseSpec(text string) (Spec, error) {
	name, rest, found := strings.Cut(text, "[")
	if !found || !strings.HasSuffix(rest, "]") {
		return Spec{}, refuse(CodeArgument, "", "", "%s is not a spec such as float32[batch, 784]", quote(text))
	}
	dtype, err := ParseDType(strings.TrimSpace(name))
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{DType: dtype}
	for _, dim := range splitDims(strings.TrimSuffix(rest, "]")) {
		if dim == "" {
			return Spec{}, refuse(CodeArgument, "", "", "%s is not a spec such as float32[batch, 784]", quote(text))
		}
		spec.Dims = append(spec.Dims, Symbol(dim))
		if size, known := spec.Dims[len(spec.Dims)-1].Size(); known && size < 0 {
			return Spec{}, refuse(CodeArgument, "TensorSpec", "shape", "%d is not a size; an unknown one is a name such as 'batch'", size)
		}
	}
	return spec, nil
}

// MustSpec is ParseSpec for text that is known to be a spec; it panics where ParseSpec gives an error.
func MustSpec(text string) Spec {
	spec, err := ParseSpec(text)
	if err != nil {
		panic(err)
	}
	return spec
}

// splitDims parts the text of a shape; a comma inside parentheses does not part it.
func splitDims(text string) []string {
	var dims []string
	depth, start := 0, 0
	for i, character := range text {
		switch character {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				dims = append(dims, strings.TrimSpace(text[start:i]))
				start = i + 1
			}
		}
	}
	if last := strings.TrimSpace(text[start:]); last != "" || dims != nil {
		dims = append(dims, last)
	}
	return dims
}
