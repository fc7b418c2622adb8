package caudal

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/caudal-project/caudal/go/internal/engine"
)

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
	if s.live.space.shared {
		t.Skip("the native library has the memory of the process: nothing can be made to trap")
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

func TestHalvesRoundToNearestEven(t *testing.T) {
	for bits := range uint32(1 << 16) {
		half, brain := Float16Bits(bits), BFloat16Bits(bits)
		if value := half.Float32(); value == value && ToFloat16(value) != half {
			t.Fatalf("float16 %#x becomes %v and %#x", bits, value, ToFloat16(value))
		}
		if value := brain.Float32(); value == value && ToBFloat16(value) != brain {
			t.Fatalf("bfloat16 %#x becomes %v and %#x", bits, value, ToBFloat16(value))
		}
	}
	for value, expected := range map[float32]Float16Bits{
		1 + 1.0/2048: 0x3C00, 1 + 3.0/2048: 0x3C02, 65519: 0x7BFF, 65520: 0x7C00, 1.0 / (1 << 25): 0, 3.0 / (1 << 25): 2,
		-65520: 0xFC00,
	} {
		if got := ToFloat16(value); got != expected {
			t.Errorf("%v becomes %#x, expected %#x", value, got, expected)
		}
	}
	if nan := float32(math.NaN()); ToFloat16(nan)&0x7FFF <= 0x7C00 || ToBFloat16(nan)&0x7FFF <= 0x7F80 {
		t.Error("NaN is not NaN")
	}
}
