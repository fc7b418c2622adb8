package caudal

import (
	"math"
	"testing"
)

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
