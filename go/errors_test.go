package caudal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// An entry of tests/errors/errors.json; write.py there says what it means.
type errorEntry struct {
	Eager, Graph, Run, Memory, Spec, Bytes *string
	State                                  map[string]string
	Session                                *struct{ Device string }
	Select                                 []string
	First                                  *int

	Attrs   map[string]json.RawMessage
	Inputs  any
	Dims    map[string]int
	Options struct{ Debug bool }
	Limits  struct {
		Memory    uint64
		Seconds   float64
		Cancelled bool
	}

	Code, Message, Op, Argument string
	Line, Hint                  bool
}

var errorsFile = filepath.Join(root, "tests", "errors", "errors.caudal")

func (e *errorEntry) do(t *testing.T) error {
	switch {
	case e.Eager != nil:
		var inputs []*caudal.Tensor
		for _, text := range e.Inputs.([]any) {
			inputs = append(inputs, parsedTensor(t, text.(string)))
		}
		_, err := caudal.Eager(context.Background(), *e.Eager, e.Attrs, inputs...)
		return err
	case e.Graph != nil:
		g := caudal.NewGraph()
		var inputs []caudal.Value
		for i, text := range e.Inputs.([]any) {
			inputs = append(inputs, g.Input(fmt.Sprintf("x%d", i), caudal.MustSpec(text.(string))))
		}
		caudal.Apply(g, *e.Graph, e.Attrs, inputs...)
		_, err := g.Program(nil)
		return err
	case e.Run != nil:
		return e.run(t)
	case e.State != nil:
		values := caudal.Tensors{}
		for name, text := range e.State {
			values[name] = parsedTensor(t, text)
		}
		return open(t).SetState(values)
	case e.Memory != nil:
		_, err := open(t).Memory(*e.Memory, e.Dims)
		return err
	case e.Session != nil:
		_, err := caudal.Load(errorsFile, &caudal.Options{Device: e.Session.Device})
		return err
	case e.Select != nil:
		_, err := open(t).Program().Select(e.Select...)
		return err
	case e.Spec != nil:
		_, err := caudal.ParseSpec(*e.Spec)
		return err
	case e.Bytes != nil:
		_, err := caudal.Read(strings.NewReader(*e.Bytes), nil)
		return err
	case e.First != nil:
		_, err := caudal.Read(bytes.NewReader(readFile(t, "tests", "errors", "errors.caudal")[:*e.First]), nil)
		return err
	}
	t.Fatal("the entry does nothing that is known")
	return nil
}

func open(t *testing.T) *caudal.Session {
	t.Helper()
	s, err := caudal.Load(errorsFile, nil)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// run calls a function; limits of the call are those of the session here, and a context. The session lives on.
func (e *errorEntry) run(t *testing.T) error {
	limits := caudal.Limits{Duration: time.Duration(e.Limits.Seconds * float64(time.Second))}
	p, err := caudal.Open(errorsFile, nil)
	check(t, err)
	limits.Memory = e.Limits.Memory
	s := session(t, p, &caudal.Options{Debug: e.Options.Debug, Limits: limits})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if e.Limits.Cancelled {
		cancel()
	}
	inputs := caudal.Tensors{}
	for name, text := range e.Inputs.(map[string]any) {
		inputs[name] = parsedTensor(t, text.(string))
	}
	before, err := s.State("w")
	check(t, err)
	_, failed := s.Run(ctx, *e.Run, inputs)
	after, err := s.State("w")
	check(t, err)
	if !bytes.Equal(encoded(t, before), encoded(t, after)) {
		t.Error("the state has changed")
	}
	out, err := s.Run(context.Background(), "train_step", caudal.Tensors{"x": parsedTensor(t, "float32[2]")})
	check(t, err)
	if sum, err := caudal.Scalar[float32](out["output"]); err != nil || sum != 3 {
		t.Errorf("the session does not live on: %v, %v", sum, err)
	}
	return failed
}

func TestErrorsAreThoseOfEveryLanguage(t *testing.T) {
	var entries []*errorEntry
	readJSON(t, &entries, "tests", "errors", "errors.json")
	if len(entries) < 50 {
		t.Fatalf("there are only %d entries", len(entries))
	}
	for i, entry := range entries {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			e := errorOf(t, entry.do(t))
			message := e.Message
			if e.File != "" {
				message = strings.TrimSuffix(message, fmt.Sprintf(" (%s:%d)", e.File, e.Line))
			}
			if entry.Eager == nil && (e.File != "") != entry.Line {
				t.Errorf("the line is %q %d", e.File, e.Line)
			}
			if entry.Hint {
				message, _, _ = strings.Cut(message, "; ")
			}
			if message != entry.Message || string(e.Code) != entry.Code || e.Op != entry.Op || e.Argument != entry.Argument {
				t.Errorf("%s [%s, %q, %q]\nexpected\n%s [%s, %q, %q]",
					message, e.Code, e.Op, e.Argument, entry.Message, entry.Code, entry.Op, entry.Argument)
			}
		})
	}
}

// A refusal is a mistake of the caller that this package itself refuses.
type refusal struct {
	do                          func() error
	code                        error
	op, argument, message, file string
}

func (r *refusal) check(t *testing.T) {
	t.Helper()
	e := errorOf(t, r.do())
	message := e.Message
	if e.File != "" {
		message = strings.TrimSuffix(message, fmt.Sprintf(" (%s:%d)", e.File, e.Line))
	}
	if message != r.message || e.Code != r.code || e.Op != r.op || e.Argument != r.argument || e.File != r.file {
		t.Errorf("%s [%v, %q, %q, %q]\nexpected\n%s [%v, %q, %q, %q]",
			message, e.Code, e.Op, e.Argument, e.File, r.message, r.code, r.op, r.argument, r.file)
	}
}

func TestWhatIsNilOrEmptyIsNamed(t *testing.T) {
	s := open(t)
	state := func(name string) error {
		_, err := s.State(name)
		return err
	}
	for _, each := range []refusal{
		{func() error { _, err := caudal.Load("", nil); return err },
			caudal.ErrArgument, "open", "path", "open: the path is empty", ""},
		{func() error { _, err := caudal.OpenFS(os.DirFS("."), "", nil); return err },
			caudal.ErrArgument, "open", "name", "open: the name is empty", ""},
		{func() error { _, err := caudal.OpenFS(nil, "file.caudal", nil); return err },
			caudal.ErrArgument, "open", "fsys", "open: the file system is nil", ""},
		{func() error { _, err := caudal.Read(nil, nil); return err },
			caudal.ErrArgument, "read", "r", "read: the reader is nil", ""},
		{func() error { return s.SaveFile("") }, caudal.ErrArgument, "save", "path", "save: the path is empty", ""},
		{func() error { return s.Save(nil) }, caudal.ErrArgument, "save", "w", "save: the writer is nil", ""},
		{func() error { return s.Restore(nil) },
			caudal.ErrArgument, "restore", "program", "restore: the program is nil", ""},
		{func() error { return s.RestoreStrict(nil) },
			caudal.ErrArgument, "restore", "program", "restore: the program is nil", ""},
		{func() error { return s.SetState(caudal.Tensors{"w": nil}) },
			caudal.ErrArgument, "", "w", "w: the tensor is nil", ""},
		{func() error { _, err := caudal.Data[float32](nil); return err },
			caudal.ErrArgument, "Data", "t", "Data: the tensor is nil", ""},
		{func() error { _, err := caudal.Scalar[float32](nil); return err },
			caudal.ErrArgument, "Scalar", "t", "Scalar: the tensor is nil", ""},
		{func() error { _, err := caudal.Scalar[int32](scalar(1)); return err },
			caudal.ErrDType, "Scalar", "t", "Scalar: the tensor is float32[], the elements of which are not int32", ""},
		{func() error { return state("nope") },
			caudal.ErrName, "", "", `no state is named "nope"; there are: w`, ""},
		{func() error { return state("") }, caudal.ErrName, "", "", `no state is named ""; there are: w`, ""},
		{func() error { return s.SetState(caudal.Tensors{"nope": scalar(1)}) },
			caudal.ErrName, "", "", "no state is named 'nope'; there are: w", ""},
	} {
		t.Run(each.message, each.check)
	}
}

func TestANilContextIsNeverDone(t *testing.T) {
	var none context.Context
	s := open(t)
	_, err := s.Run(none, "train_step", caudal.Tensors{"x": parsedTensor(t, "float32[2]")})
	check(t, err)
	out, err := caudal.Eager(none, "neg", nil, scalar(2))
	check(t, err)
	if value := floats(t, out[0])[0]; value != -2 {
		t.Errorf("neg of 2 is %v", value)
	}
}

func TestTheZeroValueIsRefusedWhereAValueIsNeeded(t *testing.T) {
	var zero caudal.Value
	const of = " is the zero Value, which is of no graph"
	keep := func(_ *caudal.Graph, v []caudal.Value) []caudal.Value { return v }
	drop := func(_ *caudal.Graph, v []caudal.Value) []caudal.Value { return make([]caudal.Value, len(v)) }
	yes := func(_ *caudal.Graph, v []caudal.Value) caudal.Value { return ops.Less(v[0], v[0]) }
	for _, each := range []struct {
		build                 func(g *caudal.Graph, x caudal.Value)
		op, argument, message string
	}{
		{func(g *caudal.Graph, x caudal.Value) { g.Function("f", caudal.Outputs{"a": zero, "b": x}) },
			"f", "a", "f: the output 'a'" + of},
		{func(g *caudal.Graph, x caudal.Value) { g.Function("f", caudal.Outputs{"a": ops.Neg(zero)}) },
			"f", "a", "f: the output 'a'" + of},
		{func(g *caudal.Graph, x caudal.Value) { ops.Add(x, zero) }, "add", "y", "add: the input y is missing"},
		{func(g *caudal.Graph, x caudal.Value) { ops.Add(zero, x) }, "add", "x", "add: the input x is missing"},
		{func(g *caudal.Graph, x caudal.Value) { g.Grad(zero, x) }, "grad", "loss", "grad: the loss" + of},
		{func(g *caudal.Graph, x caudal.Value) { g.Grad(x, zero) }, "grad", "wrt", "grad: a value of wrt" + of},
		{func(g *caudal.Graph, x caudal.Value) { g.Function("f", caudal.Outputs{"a": x}).Update(zero, x) },
			"update", "state", "update: the state" + of},
		{func(g *caudal.Graph, x caudal.Value) { g.Function("f", caudal.Outputs{"a": x}).Update(x, zero) },
			"update", "value", "update: the value" + of},
		{func(g *caudal.Graph, x caudal.Value) {
			g.Function("f", caudal.Outputs{"a": x}).Minimize(zero, []caudal.Value{x}, caudal.Adam{})
		}, "minimize", "loss", "minimize: the loss" + of},
		{func(g *caudal.Graph, x caudal.Value) {
			g.Function("f", caudal.Outputs{"a": x}).Minimize(x, []caudal.Value{zero}, caudal.Adam{})
		}, "minimize", "parameters", "minimize: a parameter" + of},
		{func(g *caudal.Graph, x caudal.Value) {
			g.Function("f", caudal.Outputs{"a": x}).Minimize(x, []caudal.Value{x}, nil)
		}, "minimize", "optimizer", "minimize: the optimizer is nil"},
		{func(g *caudal.Graph, x caudal.Value) { caudal.While([]caudal.Value{x, zero}, yes, keep) },
			"while_loop", "init", "while_loop: a value of init" + of},
		{func(g *caudal.Graph, x caudal.Value) { caudal.While([]caudal.Value{x}, yes, drop) },
			"while_loop", "", "while_loop: a carried value after a step" + of},
		{func(g *caudal.Graph, x caudal.Value) {
			caudal.While([]caudal.Value{x}, func(*caudal.Graph, []caudal.Value) caudal.Value { return zero }, keep)
		}, "", "", "a result of the function 'cond' of while_loop" + of},
		{func(g *caudal.Graph, x caudal.Value) {
			result := func(*caudal.Graph) []caudal.Value { return []caudal.Value{zero} }
			g.Function("f", caudal.Outputs{"a": caudal.Cond(ops.Less(x, x), result, result)[0]})
		}, "", "", "a result of the function 'then' of cond" + of},
	} {
		t.Run(each.message, func(t *testing.T) {
			refused := refusal{func() error {
				g := caudal.NewGraph()
				each.build(g, g.Input("x", caudal.MustSpec("float32[]")))
				_, err := g.Program(nil)
				return err
			}, caudal.ErrArgument, each.op, each.argument, each.message, "errors_test.go"}
			refused.check(t)
		})
	}
	spec := refusal{func() error { _, err := zero.Spec(); return err },
		caudal.ErrArgument, "Spec", "v", "Spec: the value" + of, "errors_test.go"}
	spec.check(t)
}
