package caudal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
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
