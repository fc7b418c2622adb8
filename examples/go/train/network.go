package main

import (
	"context"
	"math"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// build gives the program, with weights drawn from a seed: a hidden layer of that many units, predict, evaluate, and a
// train_step of Adam.
func build(ctx context.Context, seed uint64, hidden int) (*caudal.Program, error) {
	g := caudal.NewGraph()
	x := g.Input("x", caudal.MustSpec("float32[batch, 28, 28, 1]"))
	y := g.Input("y", caudal.MustSpec("int32[batch]"))
	var parameters []caudal.Value
	dense := func(name string, inputs caudal.Value, from, to int) (caudal.Value, error) {
		// Keys of the layers differ, and so do their weights.
		kernel, err := heNormal(ctx, seed+uint64(len(parameters)), from, to)
		if err != nil {
			return caudal.Value{}, err
		}
		w := g.State(name+"/kernel", kernel)
		b := g.State(name+"/bias", caudal.MustTensor(make([]float32, to), to))
		parameters = append(parameters, w, b)
		return ops.Add(ops.MatMul(inputs, w), b), nil
	}
	flat := ops.Reshape(x, &ops.ReshapeAttrs{Shape: caudal.Dims(-1, pixels)})
	units, err := dense("dense1", flat, pixels, hidden)
	if err != nil {
		return nil, err
	}
	logits, err := dense("dense2", ops.Relu(units), hidden, len(classes))
	if err != nil {
		return nil, err
	}
	loss := ops.Mean(ops.SoftmaxCrossEntropy(logits, y))
	last := -1
	best := ops.Cast(ops.Argmax(logits, &ops.ArgmaxAttrs{Axis: &last}), &ops.CastAttrs{DType: caudal.Int32})
	right := ops.Mean(ops.Cast(ops.Equal(best, y), &ops.CastAttrs{DType: caudal.Float32}))
	measures := caudal.Outputs{"loss": loss, "accuracy": right}
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(logits)},
		caudal.FunctionOptions{Doc: "Probabilities of the ten garments; pixels are in [0, 1]."})
	g.Function("evaluate", measures,
		caudal.FunctionOptions{Doc: "Mean cross-entropy and the share of right answers."})
	g.Function("train_step", measures,
		caudal.FunctionOptions{Doc: "One step of Adam on a batch; the measures are those before it."},
	).Minimize(loss, parameters, caudal.Adam{})
	return g.Program(map[string]any{"labels": classes, "pixels": "0 to 1"})
}

// heNormal draws float32[from, to] of the normal distribution of variance 2 / from.
func heNormal(ctx context.Context, seed uint64, from, to int) (*caudal.Tensor, error) {
	drawn, err := caudal.Eager(ctx, "normal", &ops.NormalAttrs{Shape: caudal.Dims(from, to)}, caudal.RandomKey(seed))
	if err != nil {
		return nil, err
	}
	numbers, err := caudal.Data[float32](drawn[0])
	if err != nil {
		return nil, err
	}
	deviation := float32(math.Sqrt(2 / float64(from)))
	for i := range numbers {
		numbers[i] *= deviation
	}
	return drawn[0], nil
}
