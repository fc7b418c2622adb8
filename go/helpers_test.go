package caudal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// root is the repository's folder.
const root = ".."

func readFile(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{root}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readJSON(t testing.TB, into any, parts ...string) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, parts...), into); err != nil {
		t.Fatal(err)
	}
}

// filled makes a tensor of a spec whose elements are a number.
func filled(t testing.TB, spec caudal.Spec, number float64) *caudal.Tensor {
	t.Helper()
	var dims []int
	count := 1
	for _, dim := range spec.Dims {
		size, _ := dim.Size()
		dims, count = append(dims, size), count*size
	}
	data := make([]byte, 0, count*spec.DType.Size())
	for range count {
		data = appendElement(data, spec.DType, number)
	}
	return decoded(t, spec.DType, dims, data)
}

func appendElement(data []byte, dtype caudal.DType, number float64) []byte {
	little := binary.LittleEndian
	switch dtype {
	case caudal.Float16:
		return little.AppendUint16(data, uint16(caudal.ToFloat16(float32(number))))
	case caudal.BFloat16:
		return little.AppendUint16(data, uint16(caudal.ToBFloat16(float32(number))))
	case caudal.Float32:
		return little.AppendUint32(data, math.Float32bits(float32(number)))
	case caudal.Float64:
		return little.AppendUint64(data, math.Float64bits(number))
	}
	return append(data, little.AppendUint64(nil, uint64(int64(number)))[:dtype.Size()]...)
}

// decoded makes a tensor of little-endian bytes.
func decoded(t testing.TB, dtype caudal.DType, dims []int, data []byte) *caudal.Tensor {
	t.Helper()
	switch dtype {
	case caudal.Bool:
		return read[bool](t, dims, data)
	case caudal.Int8:
		return read[int8](t, dims, data)
	case caudal.Int16:
		return read[int16](t, dims, data)
	case caudal.Int32:
		return read[int32](t, dims, data)
	case caudal.Int64:
		return read[int64](t, dims, data)
	case caudal.Uint8:
		return read[uint8](t, dims, data)
	case caudal.Uint16:
		return read[uint16](t, dims, data)
	case caudal.Uint32:
		return read[uint32](t, dims, data)
	case caudal.Uint64:
		return read[uint64](t, dims, data)
	case caudal.Float16:
		return read[caudal.Float16Bits](t, dims, data)
	case caudal.BFloat16:
		return read[caudal.BFloat16Bits](t, dims, data)
	case caudal.Float32:
		return read[float32](t, dims, data)
	}
	return read[float64](t, dims, data)
}

func read[T caudal.Element](t testing.TB, dims []int, data []byte) *caudal.Tensor {
	t.Helper()
	var zero T
	values := make([]T, len(data)/binary.Size(zero))
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, values); err != nil {
		t.Fatal(err)
	}
	made, err := caudal.NewTensor(values, dims...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// encoded gives the little-endian bytes of a tensor's elements.
func encoded(t testing.TB, x *caudal.Tensor) []byte {
	t.Helper()
	var data any
	var err error
	switch x.DType() {
	case caudal.Bool:
		data, err = caudal.Data[bool](x)
	case caudal.Int8:
		data, err = caudal.Data[int8](x)
	case caudal.Int16:
		data, err = caudal.Data[int16](x)
	case caudal.Int32:
		data, err = caudal.Data[int32](x)
	case caudal.Int64:
		data, err = caudal.Data[int64](x)
	case caudal.Uint8:
		data, err = caudal.Data[uint8](x)
	case caudal.Uint16:
		data, err = caudal.Data[uint16](x)
	case caudal.Uint32:
		data, err = caudal.Data[uint32](x)
	case caudal.Uint64:
		data, err = caudal.Data[uint64](x)
	case caudal.Float16:
		data, err = caudal.Data[caudal.Float16Bits](x)
	case caudal.BFloat16:
		data, err = caudal.Data[caudal.BFloat16Bits](x)
	case caudal.Float32:
		data, err = caudal.Data[float32](x)
	default:
		data, err = caudal.Data[float64](x)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := binary.Write(&out, binary.LittleEndian, data); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// parsedTensor makes the tensor of text such as int32[1] = 7.
func parsedTensor(t testing.TB, text string) *caudal.Tensor {
	t.Helper()
	spec, number, _ := strings.Cut(text, " = ")
	value := 0.0
	if number != "" {
		var err error
		if value, err = strconv.ParseFloat(number, 64); err != nil {
			t.Fatal(err)
		}
	}
	return filled(t, caudal.MustSpec(spec), value)
}

func floats(t testing.TB, x *caudal.Tensor) []float32 {
	t.Helper()
	data, err := caudal.Data[float32](x)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// errorOf gives an error of caudal.
func errorOf(t testing.TB, err error) *caudal.Error {
	t.Helper()
	var e *caudal.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no error of caudal", err, err)
	}
	return e
}

func expect(t testing.TB, err, code error, message string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("%v is not %v", err, code)
	}
	if err.Error() != message {
		t.Fatalf("the message is\n\t%s\nexpected\n\t%s", err, message)
	}
}

// counting is a program whose train_step adds x to w[n], whose predict gives w + x, and whose endless never ends where
// x is above 0, in which case it would write w.
func counting(t testing.TB, n int) *caudal.Program {
	t.Helper()
	g := caudal.NewGraph()
	w := g.State("w", filled(t, caudal.MustSpec(fmt.Sprintf("float32[%d]", n)), 0))
	x := g.Input("x", caudal.MustSpec("float32[]"))
	g.Function("predict", caudal.Outputs{"output": ops.Add(w, x)})
	next := ops.Add(w, x)
	g.Function("train_step", caudal.Outputs{"sum": ops.Sum(next)}).Update(w, next)
	zero := ops.Mul(x, x.Like(0))
	last := caudal.While([]caudal.Value{zero},
		func(_ *caudal.Graph, v []caudal.Value) caudal.Value { return ops.Less(v[0], x) },
		func(_ *caudal.Graph, v []caudal.Value) []caudal.Value { return []caudal.Value{ops.Neg(v[0])} })
	endless := ops.Add(w, last[0])
	g.Function("endless", caudal.Outputs{"output": last[0]}).Update(w, endless)
	g.Function("wait", caudal.Outputs{"output": last[0]})
	p, err := g.Program(map[string]any{"labels": []string{"a", "b"}})
	check(t, err)
	return p
}

func session(t testing.TB, p *caudal.Program, options *caudal.Options) *caudal.Session {
	t.Helper()
	s, err := p.Session(options)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func scalar(value float32) *caudal.Tensor { return caudal.MustTensor([]float32{value}) }
