//go:build cgo

package main

import (
	"errors"
	"os"
	"path/filepath"

	ort "github.com/yalue/onnxruntime_go"
)

func init() {
	contenders["onnxruntime"] = contender{"github.com/yalue/onnxruntime_go", withONNXRuntime}
}

// withONNXRuntime runs the models that benchmarks/onnx_models.py has written. ONNXRUNTIME names the shared library.
// Its version is that of the binding.
func withONNXRuntime(task, folder string) (step, error) {
	path := filepath.Join(folder, network(task)+".onnx")
	if network(task) == task && task != "call" {
		return nil, errors.New("it runs models and does not train")
	}
	if library, there := os.LookupEnv("ONNXRUNTIME"); there {
		ort.SetSharedLibraryPath(library)
	}
	if err := ort.InitializeEnvironment(); err != nil {
		return nil, err
	}
	session, err := ort.NewDynamicAdvancedSession(path, []string{"x"}, []string{"y"}, nil)
	if err != nil {
		return nil, err
	}
	return func(b batch) ([]float32, error) {
		inputShape, outputShape := ort.NewShape(int64(b.count()), 28, 28, 1), ort.NewShape(int64(b.count()), 10)
		if task == "call" {
			inputShape, outputShape = ort.NewShape(8), ort.NewShape(8)
		}
		x, err := ort.NewTensor(inputShape, b.x)
		if err != nil {
			return nil, err
		}
		defer x.Destroy()
		y, err := ort.NewEmptyTensor[float32](outputShape)
		if err != nil {
			return nil, err
		}
		defer y.Destroy()
		// The tensor's data is Go's memory, and stays.
		return y.GetData(), session.Run([]ort.Value{x}, []ort.Value{y})
	}, nil
}
