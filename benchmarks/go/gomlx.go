package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train/losses"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
)

type node = graph.Node

// parameters gives the value of a parameter in a graph.
type parameters func(name string) *node

// withGoMLX runs on GoMLX's engine in pure Go.
func withGoMLX(task, folder string) (step, error) {
	backend := simplego.GetBackend()
	if task == "call" {
		add, err := graph.NewExec(backend, func(x *node) *node { return graph.AddScalar(x, 1) })
		if err != nil {
			return nil, err
		}
		return func(b batch) ([]float32, error) { return values(add.Exec(tensors.FromFlatDataAndDimensions(b.x, 8))) }, nil
	}
	ctx := context.New()
	stored, err := weights(folder, network(task))
	if err != nil {
		return nil, err
	}
	for name, w := range stored {
		ctx.VariableWithValue(escape(name), tensors.FromFlatDataAndDimensions(w.data, w.shape...))
	}
	dims := func(b batch) []int { return []int{b.count(), 28, 28, 1} }
	model := convnet
	if task == "mlp" {
		dims = func(b batch) []int { return []int{b.count(), pixels} }
		model = perceptron
	}
	if network(task) != task {
		predict, err := context.NewExec(backend, ctx.Reuse(), func(ctx *context.Context, x *node) *node {
			return graph.Softmax(model(reader(ctx, x), x))
		})
		if err != nil {
			return nil, err
		}
		return func(b batch) ([]float32, error) {
			return values(predict.Exec(tensors.FromFlatDataAndDimensions(b.x, dims(b)...)))
		}, nil
	}
	// Adam's epsilon stands beside the second moment before its correction, in GoMLX after it: this is equal at first.
	adam := optimizers.Adam().LearningRate(1e-3).Epsilon(1e-7 / math.Sqrt(1-0.999)).Done()
	train, err := context.NewExec(backend, ctx.Checked(false), func(ctx *context.Context, x, y *node) *node {
		logits := model(reader(ctx, x), x)
		loss := graph.ReduceAllMean(losses.SparseCategoricalCrossEntropyLogits([]*node{y}, []*node{logits}))
		adam.UpdateGraph(ctx, x.Graph(), loss)
		return loss
	})
	if err != nil {
		return nil, err
	}
	return func(b batch) ([]float32, error) {
		x := tensors.FromFlatDataAndDimensions(b.x, dims(b)...)
		return values(train.Exec(x, tensors.FromFlatDataAndDimensions(b.y, b.count(), 1)))
	}, nil
}

// escape gives a name without the separator of scopes.
func escape(name string) string { return strings.ReplaceAll(name, "/", "_") }

// reader reads parameters in the graph of a value.
func reader(ctx *context.Context, x *node) parameters {
	return func(name string) *node {
		return ctx.GetVariableByScopeAndName(ctx.Scope(), escape(name)).ValueGraph(x.Graph())
	}
}

func perceptron(p parameters, x *node) *node {
	return dense(p, "output", relu(dense(p, "hidden", x)))
}

func convnet(p parameters, x *node) *node {
	for _, layer := range []string{"conv1", "conv2"} {
		bias := p(layer + "/bias")
		x = graph.Convolve(x, p(layer+"/kernel")).Strides(1).PadSame().Done()
		x = relu(graph.Add(x, graph.Reshape(bias, 1, 1, 1, bias.Shape().Size())))
		x = graph.MaxPool(x).Window(2).Done()
	}
	x = graph.Reshape(x, -1, 7*7*64)
	return dense(p, "dense2", relu(dense(p, "dense1", x)))
}

func dense(p parameters, layer string, x *node) *node {
	bias := p(layer + "/bias")
	return graph.Add(graph.Dot(x, p(layer+"/kernel")), graph.Reshape(bias, 1, bias.Shape().Size()))
}

func relu(x *node) *node { return graph.Max(x, graph.ScalarZero(x.Graph(), x.DType())) }

// values are those of the only output of a call.
func values(outputs []*tensors.Tensor, err error) ([]float32, error) {
	if err != nil {
		return nil, err
	}
	if len(outputs) != 1 {
		return nil, fmt.Errorf("%d outputs", len(outputs))
	}
	defer outputs[0].MustFinalizeAll()
	return tensors.CopyFlatData[float32](outputs[0])
}
