package caudal

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Attrs are an op's attrs by name, as docs/ops.md has them: bools, numbers, texts, dtypes, dims, lists of these, tensors.
// Those left out have their defaults.
type Attrs map[string]any

// encodeAttrs gives the JSON of attrs: of nil, a map, or a pointer to one of the structs of package ops.
func encodeAttrs(op string, attrs any) (string, error) {
	if attrs == nil {
		return "", nil
	}
	var text strings.Builder
	if err := encode(&text, reflect.ValueOf(attrs)); err != nil {
		return "", refuse(CodeArgument, op, "attrs", "%s", err)
	}
	if text.String() == "null" {
		return "", nil
	}
	return text.String(), nil
}

func encode(out *strings.Builder, v reflect.Value) error {
	if !v.IsValid() {
		out.WriteString("null")
		return nil
	}
	switch value := v.Interface().(type) {
	case json.RawMessage:
		out.Write(value)
		return nil
	case DType:
		return encodeText(out, value.String())
	case Dim:
		if size, known := value.Size(); known {
			out.WriteString(strconv.Itoa(size))
			return nil
		}
		return encodeText(out, value.String())
	case *Tensor:
		if value != nil {
			return encodeTensor(out, value)
		}
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			out.WriteString("null")
			return nil
		}
		return encode(out, v.Elem())
	case reflect.Struct:
		return encodeStruct(out, v)
	case reflect.Map:
		return encodeMap(out, v)
	case reflect.Slice, reflect.Array:
		return encodeList(out, v)
	case reflect.Bool:
		out.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		out.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		out.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		out.WriteString(floatText(v.Float()))
	case reflect.String:
		return encodeText(out, v.String())
	default:
		return fmt.Errorf("%s cannot be an attr", v.Type())
	}
	return nil
}

// floatText gives a float as the core's JSON has it: those that JSON lacks are words.
func floatText(value float64) string {
	switch {
	case math.IsNaN(value):
		return `"nan"`
	case math.IsInf(value, 1):
		return `"inf"`
	case math.IsInf(value, -1):
		return `"-inf"`
	}
	text := strconv.FormatFloat(value, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

func encodeText(out *strings.Builder, text string) error {
	quoted, err := json.Marshal(text)
	out.Write(quoted)
	return err
}

// encodeStruct writes the fields with a tag; those that are zero have their default where the tag says so.
func encodeStruct(out *strings.Builder, v reflect.Value) error {
	out.WriteByte('{')
	first := true
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("caudal"), ",")
		if name == "" || option == "omitzero" && v.Field(i).IsZero() {
			continue
		}
		if !first {
			out.WriteByte(',')
		}
		first = false
		out.WriteString(`"` + name + `":`)
		if err := encode(out, v.Field(i)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	out.WriteByte('}')
	return nil
}

func encodeMap(out *strings.Builder, v reflect.Value) error {
	if v.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("%s cannot be an attr", v.Type())
	}
	entries := map[string]reflect.Value{}
	for _, key := range v.MapKeys() {
		entries[key.String()] = v.MapIndex(key)
	}
	out.WriteByte('{')
	for i, name := range sortedNames(entries) {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := encodeText(out, name); err != nil {
			return err
		}
		out.WriteByte(':')
		if err := encode(out, entries[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	out.WriteByte('}')
	return nil
}

func encodeList(out *strings.Builder, v reflect.Value) error {
	out.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := encode(out, v.Index(i)); err != nil {
			return err
		}
	}
	out.WriteByte(']')
	return nil
}

func encodeTensor(out *strings.Builder, t *Tensor) error {
	shape, err := json.Marshal(append([]int{}, t.dims...))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `{"dtype":"%s","shape":%s,"data":`, t.dtype, shape)
	var data reflect.Value
	switch t.dtype {
	case Bool:
		// Elements are 0 and 1 there.
		numbers := make([]int, len(t.data))
		for i, each := range t.data {
			numbers[i] = int(each)
		}
		data = reflect.ValueOf(numbers)
	case Float16:
		data = widened[Float16Bits](t)
	case BFloat16:
		data = widened[BFloat16Bits](t)
	default:
		data = reflect.ValueOf(elements(t))
	}
	if err := encodeList(out, data); err != nil {
		return err
	}
	out.WriteByte('}')
	return nil
}

func widened[T interface {
	Element
	Float32() float32
}](t *Tensor) reflect.Value {
	halves, _ := Data[T](t)
	wide := make([]float32, len(halves))
	for i, half := range halves {
		wide[i] = half.Float32()
	}
	return reflect.ValueOf(wide)
}

// elements gives the elements of a tensor as a slice of their own type.
func elements(t *Tensor) any {
	switch t.dtype {
	case Bool:
		return must(Data[bool](t))
	case Int8:
		return must(Data[int8](t))
	case Int16:
		return must(Data[int16](t))
	case Int32:
		return must(Data[int32](t))
	case Int64:
		return must(Data[int64](t))
	case Uint8:
		return must(Data[uint8](t))
	case Uint16:
		return must(Data[uint16](t))
	case Uint32:
		return must(Data[uint32](t))
	case Uint64:
		return must(Data[uint64](t))
	case Float16:
		return must(Data[Float16Bits](t))
	case BFloat16:
		return must(Data[BFloat16Bits](t))
	case Float32:
		return must(Data[float32](t))
	default:
		return must(Data[float64](t))
	}
}

// must gives what cannot fail.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
