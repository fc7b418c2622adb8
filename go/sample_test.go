package caudal_test

import (
	"context"
	"errors"
	"log"
	"math"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// fashion writes a file with the functions of the sample: a linear classifier of images.
func fashion(t *testing.T) string {
	t.Helper()
	g := caudal.NewGraph()
	image, label := g.Input("x", caudal.MustSpec("float32[batch, 28, 28, 1]")), g.Input("y", caudal.MustSpec("int32[batch]"))
	flat := ops.Reshape(image, &ops.ReshapeAttrs{Shape: caudal.Dims("batch", 784)})
	w := g.State("dense/kernel", filled(t, caudal.MustSpec("float32[784, 10]"), 0))
	logits := ops.MatMul(flat, w)
	loss := ops.Mean(ops.SoftmaxCrossEntropy(logits, label))
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(logits)})
	g.Function("train_step", caudal.Outputs{"loss": loss}).Minimize(loss, []caudal.Value{w}, caudal.Adam{})
	p, err := g.Program(nil)
	check(t, err)
	path := filepath.Join(t.TempDir(), "fashion.caudal")
	check(t, p.SaveFile(path))
	return path
}

func TestTheSampleOfTheSurfaceRuns(t *testing.T) {
	pixels, labels := make([]float32, 32*784), make([]int32, 32)
	for i := range labels {
		labels[i] = int32(i % 10)
		for j := range 784 {
			pixels[784*i+j] = float32((i+j)%10) / 10
		}
	}
	ctx, folder := context.Background(), t.TempDir()
	sample := func() error {
		s, err := caudal.Load(fashion(t), &caudal.Options{Device: "cpu", Limits: caudal.Limits{Memory: 512 << 20, Duration: 2 * time.Second}})
		if err != nil {
			return err
		}
		defer s.Close() // waits for running calls; later ones get ErrClosed
		x, err := caudal.NewTensor(pixels, len(pixels)/784, 28, 28, 1)
		check(t, err)
		y, err := caudal.NewTensor(labels, len(labels))
		check(t, err)
		out, err := s.Run(ctx, "predict", caudal.Tensors{"x": x})
		check(t, err)
		p, err := caudal.Data[float32](out["output"])
		check(t, err)
		if len(p) != 320 || p[0] != 0.1 {
			t.Errorf("%d probabilities, the first %v", len(p), p[0])
		}
		var wg sync.WaitGroup
		for range 64 { // many predict ...
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				_, err := s.Run(ctx, "predict", caudal.Tensors{"x": x})
				var e *caudal.Error
				switch {
				case errors.Is(err, context.DeadlineExceeded), errors.Is(err, caudal.ErrClosed): // shed
				case errors.As(err, &e):
					log.Print(e.Code, e.Op, e.Argument, e.File, e.Line, e)
					t.Error(e)
				}
			})
		}
		rate, _ := caudal.NewTensor([]float32{1e-4}) // a scalar
		err = s.SetState(caudal.Tensors{"optimizer/learning_rate": rate})
		check(t, err)
		first, last := float32(0), float32(0)
		for i := range 20 { // ... while one trains
			out, err := s.Run(ctx, "train_step", caudal.Tensors{"x": x, "y": y})
			if err != nil {
				return err // the state is as before the step
			}
			if last, err = caudal.Scalar[float32](out["loss"]); i == 0 {
				first = last
			}
			check(t, err)
		}
		if !(last < first) {
			t.Errorf("the loss went from %v to %v", first, last)
		}
		wg.Wait()
		return s.SaveFile(filepath.Join(folder, "tuned.caudal"))
	}
	check(t, sample())
	s, err := caudal.Load(filepath.Join(folder, "tuned.caudal"), nil)
	check(t, err)
	step, err := s.State("optimizer/step")
	check(t, err)
	if count, err := caudal.Scalar[int64](step); err != nil || count != 20 {
		t.Errorf("the file was trained %v steps, %v", count, err)
	}
}

func TestTheSampleFromNothingRuns(t *testing.T) {
	keys, err := caudal.Eager(background, "normal", caudal.Attrs{"shape": []int{784, 10}}, caudal.RandomKey(0))
	check(t, err)
	kernel, bias, labels := keys[0], filled(t, caudal.MustSpec("float32[10]"), 0), []string{"shirt"}

	g := caudal.NewGraph() // from nothing
	x, y := g.Input("x", caudal.MustSpec("float32[batch, 784]")), g.Input("y", caudal.MustSpec("int32[batch]"))
	w, b := g.State("dense/kernel", kernel), g.State("dense/bias", bias) // tensors
	logits := ops.Add(ops.MatMul(x, w), b)                               // no error here: the first is kept with this line
	loss := ops.Mean(ops.SoftmaxCrossEntropy(logits, y))
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(logits, nil)})
	g.Function("train_step", caudal.Outputs{"loss": loss}).Minimize(loss, []caudal.Value{w, b}, caudal.Adam{LearningRate: 1e-3})
	p, err := g.Program(map[string]any{"labels": labels}) // and returned here
	check(t, err)

	function, err := p.Function("train_step")
	check(t, err)
	if text := function.String(); text != "train_step(x: float32[batch, 784], y: int32[batch]) -> (loss: float32[])" {
		t.Error(text)
	}
	names := map[string]bool{}
	for _, each := range p.Functions() {
		names[each.Name] = true
	}
	if !names["gradients"] || !names["apply"] {
		t.Errorf("the functions are %v", names)
	}
}

func TestTheFirstErrorOfAGraphHasTheLineOfItsCall(t *testing.T) {
	g := caudal.NewGraph()
	x := g.Input("x", caudal.MustSpec("float32[batch, 784]"))
	three := g.Constant(caudal.MustTensor(make([]float32, 3), 3))
	_, _, before, _ := runtime.Caller(0)
	bad := ops.Add(x, three)
	ops.MatMul(bad, bad)
	_, err := g.Program(nil)
	e := errorOf(t, err)
	if e.File != "sample_test.go" || e.Line != before+1 || e.Op != "add" || !errors.Is(e, caudal.ErrShape) {
		t.Errorf("%v has %s:%d", e, e.File, e.Line)
	}
	if _, err := bad.Spec(); err == nil || err.Error() != e.Message {
		t.Errorf("the spec of what failed is %v", err)
	}
}

func TestKeysAreThoseOfEveryLanguage(t *testing.T) {
	key, err := caudal.Data[uint32](caudal.RandomKey(1<<40 | 42))
	check(t, err)
	if key[0] != 256 || key[1] != 42 {
		t.Errorf("the key is %v", key)
	}
}

func TestControlFlowRunsAndHasGradients(t *testing.T) {
	g := caudal.NewGraph()
	x, xs := g.Input("x", caudal.MustSpec("float32[]")), g.Input("xs", caudal.MustSpec("float32[n]"))
	halved := caudal.Cond(ops.Greater(x, x.Like(1)),
		func(*caudal.Graph) []caudal.Value { return []caudal.Value{ops.Mul(x, x.Like(0.5))} },
		func(*caudal.Graph) []caudal.Value { return []caudal.Value{x} })
	doubled := caudal.While([]caudal.Value{x},
		func(_ *caudal.Graph, v []caudal.Value) caudal.Value { return ops.Less(v[0], v[0].Like(100)) },
		func(_ *caudal.Graph, v []caudal.Value) []caudal.Value {
			return []caudal.Value{ops.Mul(v[0], v[0].Like(2))}
		},
		caudal.LoopOptions{MaxSteps: 10})
	last, sums := caudal.Scan([]caudal.Value{x}, []caudal.Value{xs},
		func(_ *caudal.Graph, carried, slices []caudal.Value) ([]caudal.Value, []caudal.Value) {
			// The outer x is captured.
			next := ops.Add(ops.Mul(carried[0], x), slices[0])
			return []caudal.Value{next}, []caudal.Value{next}
		})
	g.Function("f", caudal.Outputs{"halved": halved[0], "doubled": doubled[0], "last": last[0], "sums": sums[0]})
	g.Function("grads", caudal.Outputs{
		"halved": g.Grad(halved[0], x)[0], "doubled": g.Grad(doubled[0], x)[0], "last": g.Grad(last[0], x)[0],
	})
	p, err := g.Program(nil)
	check(t, err)
	s := session(t, p, nil)
	inputs := caudal.Tensors{"x": scalar(2), "xs": caudal.MustTensor([]float32{1, 2, 3}, 3)}
	out, err := s.Run(background, "f", inputs)
	check(t, err)
	grads, err := s.Run(background, "grads", inputs)
	check(t, err)
	// last = x^4 + x^2 + 2x + 3
	for name, expected := range map[string][2]float32{"halved": {1, 0.5}, "doubled": {128, 64}, "last": {27, 38}} {
		if value, grad := floats(t, out[name])[0], floats(t, grads[name])[0]; value != expected[0] || grad != expected[1] {
			t.Errorf("%s is %v, its gradient %v, expected %v", name, value, grad, expected)
		}
	}
	if sums := floats(t, out["sums"]); sums[0] != 5 || sums[1] != 12 || sums[2] != 27 {
		t.Errorf("the sums are %v", sums)
	}
}

func TestDrawsDifferFromCallToCall(t *testing.T) {
	g := caudal.NewGraph()
	g.Function("draw", caudal.Outputs{"output": ops.Uniform(g.Draw(), &ops.UniformAttrs{Shape: caudal.Dims(3)})})
	p, err := g.Program(nil)
	check(t, err)
	s := session(t, p, nil)
	first, err := s.Run(background, "draw", nil)
	check(t, err)
	second, err := s.Run(background, "draw", nil)
	check(t, err)
	if a, b := floats(t, first["output"]), floats(t, second["output"]); a[0] == b[0] || a[0] < 0 || a[0] >= 1 {
		t.Errorf("the draws are %v and %v", a, b)
	}
}

func TestEveryOptimizerLowersALoss(t *testing.T) {
	for _, optimizer := range []caudal.Optimizer{
		caudal.SGD{LearningRate: 0.1}, caudal.SGD{LearningRate: 0.1, Momentum: 0.5, Nesterov: true},
		caudal.RMSprop{LearningRate: 0.1, Centered: true, Momentum: 0.5}, caudal.Adagrad{LearningRate: 1},
		caudal.Adam{LearningRate: 0.1, Beta1: caudal.Ptr(0.0)}, caudal.AdamW{LearningRate: 0.1, WeightDecay: caudal.Ptr(0.0)},
		caudal.Adam{LearningRate: 0.5, Schedule: caudal.CosineSchedule{DecaySteps: 100, WarmupSteps: 5}, Name: "slow"},
	} {
		g := caudal.NewGraph()
		w := g.State("w", caudal.MustTensor([]float32{3, -2}, 2))
		loss := ops.Sum(ops.Square(w))
		g.Function("step", caudal.Outputs{"loss": loss}).Minimize(loss, []caudal.Value{w}, optimizer)
		p, err := g.Program(nil)
		check(t, err)
		s := session(t, p, nil)
		var last float32
		for range 60 {
			out, err := s.Run(background, "step", nil)
			check(t, err)
			last = floats(t, out["loss"])[0]
		}
		if !(last < 3) || math.IsNaN(float64(last)) {
			t.Errorf("%#v ends at %v", optimizer, last)
		}
	}
	g := caudal.NewGraph()
	w := g.State("w", scalar(1))
	g.Function("step", caudal.Outputs{"loss": w}).Minimize(w, []caudal.Value{w}, caudal.SGD{Nesterov: true})
	_, err := g.Program(nil)
	if e := errorOf(t, err); e.Argument != "nesterov" || !errors.Is(e, caudal.ErrArgument) {
		t.Error(err)
	}
}
