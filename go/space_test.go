//go:build !caudal_native

package caudal

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// The native library has the memory of the process: there nothing can be made to trap.
func TestATrapClosesItsSessionAloneAndTheStateCanBeRead(t *testing.T) {
	g := NewGraph()
	w := g.State("w", MustTensor([]float32{1, 2}, 2))
	next := Apply(g, "exp", nil, w)[0]
	g.Function("step", Outputs{"output": next}).Update(w, next)
	p, err := g.Program(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Session(&Options{Readers: -1})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.live.space.enter()
	if err != nil {
		t.Fatal(err)
	}
	err = f.call(engine.GraphNew, math.MaxUint32-3)
	f.leave()
	if !errors.Is(err, ErrInternal) {
		t.Fatalf("a trap is %v", err)
	}
	if _, err := s.Run(context.Background(), "step", nil); !errors.Is(err, ErrInternal) {
		t.Errorf("a call after a trap is %v", err)
	}
	value, err := s.State("w")
	if err != nil || value.data[3] != 0x3F {
		t.Errorf("the state is %v, %v", value, err)
	}
	other, err := p.Session(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Run(context.Background(), "step", nil); err != nil {
		t.Error(err)
	}
}
