package caudal_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
)

// A vector is an entry of tests/vectors/vectors.safetensors; tests/vectors/write.py says what it means.
type vector struct {
	Case   string
	Op     string
	Attrs  map[string]json.RawMessage
	Inputs []bool
	ULP    float64
	Near   []float64
}

// safetensors gives the tensors of a file, and its metadata.
func safetensors(t *testing.T, data []byte) (map[string]*caudal.Tensor, map[string]string) {
	t.Helper()
	names := map[string]caudal.DType{
		"BOOL": caudal.Bool, "I8": caudal.Int8, "I16": caudal.Int16, "I32": caudal.Int32, "I64": caudal.Int64,
		"U8": caudal.Uint8, "U16": caudal.Uint16, "U32": caudal.Uint32, "U64": caudal.Uint64, "F16": caudal.Float16,
		"BF16": caudal.BFloat16, "F32": caudal.Float32, "F64": caudal.Float64,
	}
	length := binary.LittleEndian.Uint64(data)
	header := map[string]json.RawMessage{}
	check(t, json.Unmarshal(data[8:8+length], &header))
	body, tensors, metadata := data[8+length:], map[string]*caudal.Tensor{}, map[string]string{}
	for name, text := range header {
		if name == "__metadata__" {
			check(t, json.Unmarshal(text, &metadata))
			continue
		}
		var entry struct {
			DType   string
			Shape   []int
			Offsets [2]int `json:"data_offsets"`
		}
		check(t, json.Unmarshal(text, &entry))
		tensors[name] = decoded(t, names[entry.DType], entry.Shape, body[entry.Offsets[0]:entry.Offsets[1]])
	}
	return tensors, metadata
}

// numbers gives a tensor's elements as float64, and the bits that order them.
func numbers(t *testing.T, x *caudal.Tensor) ([]float64, []int64) {
	t.Helper()
	data, size := encoded(t, x), x.DType().Size()
	values, bits := make([]float64, x.Len()), make([]int64, x.Len())
	for i := range values {
		word := make([]byte, 8)
		copy(word, data[i*size:(i+1)*size])
		raw := binary.LittleEndian.Uint64(word)
		bits[i] = int64(raw)
		top := uint64(1) << (8*size - 1)
		switch x.DType() {
		case caudal.Float16:
			values[i] = float64(caudal.Float16Bits(raw).Float32())
		case caudal.BFloat16:
			values[i] = float64(caudal.BFloat16Bits(raw).Float32())
		case caudal.Float32:
			values[i] = float64(math.Float32frombits(uint32(raw)))
		case caudal.Float64:
			values[i] = math.Float64frombits(raw)
		case caudal.Bool, caudal.Uint8, caudal.Uint16, caudal.Uint32, caudal.Uint64:
			values[i] = float64(raw)
			continue
		default:
			values[i] = float64(int64(raw<<(64-8*size)) >> (64 - 8*size))
			continue
		}
		if raw&top != 0 {
			// Both zeros are 0, and negative numbers count down.
			bits[i] = -int64(raw &^ top)
		}
	}
	return values, bits
}

// difference gives the largest distance in units in the last place of elements that are not near enough to each other,
// and whether all pass.
func difference(t *testing.T, got, wanted *caudal.Tensor, ulp, near float64) (float64, bool) {
	t.Helper()
	if got.String() != wanted.String() {
		t.Errorf("the output is %s, expected %s", got, wanted)
		return math.Inf(1), false
	}
	ours, ourBits := numbers(t, got)
	theirs, theirBits := numbers(t, wanted)
	largest, passes := 0.0, true
	for i := range ours {
		if math.IsNaN(ours[i]) || math.IsNaN(theirs[i]) || math.IsInf(theirs[i], 0) || math.IsInf(ours[i], 0) {
			same := math.IsNaN(ours[i]) && math.IsNaN(theirs[i]) || ours[i] == theirs[i]
			passes = passes && same
			continue
		}
		apart := math.Abs(float64(ourBits[i] - theirBits[i]))
		if math.Abs(ours[i]-theirs[i]) <= near {
			continue
		}
		largest = max(largest, apart)
		passes = passes && apart <= ulp
	}
	return largest, passes
}

func TestVectorsPass(t *testing.T) {
	tensors, metadata := safetensors(t, readFile(t, "tests", "vectors", "vectors.safetensors"))
	var cases []vector
	check(t, json.Unmarshal([]byte(metadata["cases"]), &cases))
	if len(cases) < 1000 {
		t.Fatalf("there are only %d vectors", len(cases))
	}
	largest, bits := map[string]float64{}, map[string]string{}
	for _, each := range cases {
		var inputs, wanted []*caudal.Tensor
		for i, there := range each.Inputs {
			input := tensors[name(each.Case, "input", i)]
			if there != (input != nil) {
				t.Fatalf("%s: input %d", each.Case, i)
			}
			inputs = append(inputs, input)
		}
		for i := 0; tensors[name(each.Case, "output", i)] != nil; i++ {
			wanted = append(wanted, tensors[name(each.Case, "output", i)])
		}
		outputs, err := caudal.Eager(context.Background(), each.Op, each.Attrs, inputs...)
		if err != nil || len(outputs) != len(wanted) || len(wanted) == 0 {
			t.Errorf("%s: %d outputs, expected %d: %v", each.Case, len(outputs), len(wanted), err)
			continue
		}
		sum := sha256.New()
		for i, output := range outputs {
			apart, passes := difference(t, output, wanted[i], each.ULP, each.Near[i])
			if !passes {
				t.Errorf("%s: output %d is %v units in the last place off", each.Case, i, apart)
			}
			largest[each.Op] = max(largest[each.Op], apart)
			sum.Write(encoded(t, output))
		}
		bits[each.Case] = hex.EncodeToString(sum.Sum(nil))
	}
	compareBits(t, bits)
	writeReport(t, largest)
}

func name(vector, side string, index int) string {
	return vector + "/" + side + "_" + string(rune('0'+index))
}

// compareBits compares outputs with the native library's, where the Python runner has written these; they are without
// the contractions, which may use fused multiply-add natively.
func compareBits(t *testing.T, ours map[string]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "build", "vectors", "native.json"))
	if err != nil {
		t.Logf("bits are not compared: %v", err)
		return
	}
	var native map[string]string
	check(t, json.Unmarshal(data, &native))
	var differ []string
	for vector, bits := range native {
		if ours[vector] != bits {
			differ = append(differ, vector)
		}
	}
	slices.Sort(differ)
	if len(differ) > 0 || len(native) < 1000 {
		t.Errorf("%d of %d vectors have other bits than the native library's: %v", len(differ), len(native), differ)
	}
}

// writeReport leaves the largest differences of each op for CI, which prints them.
func writeReport(t *testing.T, largest map[string]float64) {
	t.Helper()
	folder := filepath.Join(root, "build", "vectors")
	check(t, os.MkdirAll(folder, 0o777))
	text, err := json.MarshalIndent(largest, "", " ")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(folder, engineName+".json"), text, 0o666))
}
