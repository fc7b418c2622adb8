package main

import (
	"context"
	"path/filepath"

	caudal "github.com/caudal-project/caudal/go"
)

// withCaudal runs the programs that Python has saved.
func withCaudal(task, folder string) (step, error) {
	session, err := caudal.Load(filepath.Join(folder, network(task)+".caudal"), nil)
	if err != nil {
		return nil, err
	}
	name := map[string]string{"call": "add", "predict-1": "predict", "predict-64": "predict"}[task]
	if name == "" {
		name = "train_step"
	}
	return func(b batch) ([]float32, error) {
		inputs, err := named(task, b)
		if err != nil {
			return nil, err
		}
		outputs, err := session.Run(context.Background(), name, inputs)
		if err != nil {
			return nil, err
		}
		return caudal.Data[float32](outputs["output"])
	}, nil
}

// named are the inputs of a task's function.
func named(task string, b batch) (caudal.Tensors, error) {
	dims := map[string][]int{"call": {8}, "mlp": {b.count(), pixels}}[task]
	if dims == nil {
		dims = []int{b.count(), 28, 28, 1}
	}
	x, err := caudal.NewTensor(b.x, dims...)
	if err != nil {
		return nil, err
	}
	if network(task) != task || task == "call" {
		return caudal.Tensors{"x": x}, nil
	}
	y, err := caudal.NewTensor(b.y, len(b.y))
	return caudal.Tensors{"x": x, "y": y}, err
}
