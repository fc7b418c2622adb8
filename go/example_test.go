package caudal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// A program is built, trained, saved and run.
func Example() {
	g := caudal.NewGraph()
	x, y := g.Input("x", caudal.MustSpec("float32[batch]")), g.Input("y", caudal.MustSpec("float32[batch]"))
	w := g.State("w", caudal.MustTensor([]float32{0}))
	predicted := ops.Mul(x, w)
	loss := ops.MeanSquaredError(predicted, y)
	g.Function("predict", caudal.Outputs{"output": predicted})
	g.Function("train_step", caudal.Outputs{"loss": loss}).Minimize(loss, []caudal.Value{w}, caudal.SGD{LearningRate: 0.1})
	p, err := g.Program(nil)
	if err != nil {
		log.Fatal(err)
	}
	s, err := p.Session(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	xs, ys := caudal.MustTensor([]float32{1, 2}, 2), caudal.MustTensor([]float32{3, 6}, 2)
	for range 50 {
		if _, err := s.Run(ctx, "train_step", caudal.Tensors{"x": xs, "y": ys}); err != nil {
			log.Fatal(err)
		}
	}
	out, err := s.Run(ctx, "predict", caudal.Tensors{"x": caudal.MustTensor([]float32{10}, 1)})
	if err != nil {
		log.Fatal(err)
	}
	data, err := caudal.Data[float32](out["output"])
	fmt.Printf("%.3f %v\n", data, err)
	// Output: [30.000] <nil>
}

func ExampleEager() {
	x := caudal.MustTensor([]float32{1, 2, 3, 4}, 2, 2)
	out, err := caudal.Eager(context.Background(), "sum", caudal.Attrs{"axis": 0}, x)
	if err != nil {
		log.Fatal(err)
	}
	data, err := caudal.Data[float32](out[0])
	fmt.Println(out[0], data, err)
	// Output: float32[2] [4 6] <nil>
}

func ExampleError() {
	x := caudal.MustTensor([]float32{1, 2, 3}, 3)
	y := caudal.MustTensor([]float32{1, 2}, 2)
	_, err := caudal.Eager(context.Background(), "add", nil, x, y)
	var e *caudal.Error
	fmt.Println(errors.Is(err, caudal.ErrShape), errors.As(err, &e))
	fmt.Println(e.Op, e)
	// Output:
	// true true
	// add add: shapes [3] and [2] cannot be broadcast together
}

func ExampleGraph_Program() {
	g := caudal.NewGraph()
	x := g.Input("x", caudal.MustSpec("float32[batch, 3]"))
	w := g.State("w", caudal.MustTensor(make([]float32, 8), 4, 2))
	g.Function("predict", caudal.Outputs{"output": ops.MatMul(x, w)})
	_, err := g.Program(nil)
	fmt.Println(errors.Is(err, caudal.ErrShape))
	// Output: true
}

func ExampleSession_Snapshot() {
	g := caudal.NewGraph()
	n := g.State("n", caudal.MustTensor([]int64{0}))
	next := ops.Add(n, n.Like(1))
	g.Function("count", caudal.Outputs{"output": next}).Update(n, next)
	p, err := g.Program(nil)
	if err != nil {
		log.Fatal(err)
	}
	s, err := p.Session(nil)
	if err != nil {
		log.Fatal(err)
	}
	before, err := s.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	count := func() int64 {
		out, err := s.Run(context.Background(), "count", nil)
		if err != nil {
			log.Fatal(err)
		}
		n, _ := caudal.Scalar[int64](out["output"])
		return n
	}
	fmt.Println(count(), count())
	fmt.Println(s.Restore(before), count())
	var file bytes.Buffer
	fmt.Println(s.Save(&file), file.Len() > 0)
	// Output:
	// 1 2
	// <nil> 1
	// <nil> true
}

func ExampleParseSpec() {
	spec, err := caudal.ParseSpec("float32[batch, 784]")
	fmt.Println(spec.DType, spec.Dims, err)
	// Output: float32 [batch 784] <nil>
}
