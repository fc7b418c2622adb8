package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	pixels    = 28 * 28
	fullBatch = 64
)

// A batch is pictures, one after the other, and their labels.
type batch struct {
	x []float32
	y []int32
}

// count is how many pictures there are.
func (b batch) count() int { return len(b.x) / pixels }

// batches reads what benchmarks/networks.py has written, as a task takes it.
func batches(task, folder string) ([]batch, error) {
	if task == "call" {
		return []batch{{x: make([]float32, 8)}}, nil
	}
	pictures, err := read[float32](folder, "pictures.f32")
	if err != nil {
		return nil, err
	}
	labels, err := read[int32](folder, "labels.i32")
	if err != nil {
		return nil, err
	}
	size := fullBatch
	if task == "predict-1" {
		size = 1
	}
	var all []batch
	for i := 0; i < len(labels); i += fullBatch {
		all = append(all, batch{pictures[i*pixels : (i+size)*pixels], labels[i : i+size]})
	}
	return all, nil
}

// network is the program that a task takes its weights from.
func network(task string) string {
	if strings.HasPrefix(task, "predict") {
		return "convnet"
	}
	return task
}

// weight is one parameter.
type weight struct {
	shape []int
	data  []float32
}

// weights reads the parameters of a program, which is a safetensors file.
func weights(folder, program string) (map[string]weight, error) {
	file, err := os.ReadFile(filepath.Join(folder, program+".caudal"))
	if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint64(file)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+size], &header); err != nil {
		return nil, err
	}
	parameters := map[string]weight{}
	for name, entry := range header {
		var tensor struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(entry, &tensor); err != nil {
			return nil, err
		}
		if tensor.DType != "F32" || strings.HasPrefix(name, "optimizer/") {
			continue
		}
		data, err := decode[float32](file[8+size:][tensor.Offsets[0]:tensor.Offsets[1]])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		parameters[name] = weight{tensor.Shape, data}
	}
	return parameters, nil
}

// read gives the values of a file.
func read[T float32 | int32](folder, name string) ([]T, error) {
	file, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return nil, err
	}
	return decode[T](file)
}

// decode gives the values that bytes hold.
func decode[T float32 | int32](data []byte) ([]T, error) {
	values := make([]T, len(data)/4)
	_, err := binary.Decode(data, binary.LittleEndian, values)
	return values, err
}
