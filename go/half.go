package caudal

import "math"

// Float16Bits is an element of the dtype float16, which Go has no arithmetic for: IEEE 754 binary16.
type Float16Bits uint16

// BFloat16Bits is an element of the dtype bfloat16: the upper half of a float32.
type BFloat16Bits uint16

// ToFloat16 rounds to the nearest float16, of two to the even one; what is too large becomes infinite.
func ToFloat16(value float32) Float16Bits {
	bits := math.Float32bits(value)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7FFFFFFF
	switch {
	case bits > 0x7F800000:
		return Float16Bits(sign | 0x7E00)
	case bits >= 0x47800000:
		return Float16Bits(sign | 0x7C00)
	case bits >= 0x38800000:
		// Normal: the exponent's bias goes from 127 to 15. A carry out of the fraction goes where it belongs.
		bits -= (127 - 15) << 23
		return Float16Bits(sign | uint16((bits+0xFFF+(bits>>13&1))>>13))
	}
	// Subnormal: adding 0.5 leaves the fraction, rounded to nearest even, in the lowest bits.
	sum := math.Float32bits(math.Float32frombits(bits) + 0.5)
	return Float16Bits(sign | uint16(sum-math.Float32bits(0.5)))
}

// Float32 gives the same number.
func (h Float16Bits) Float32() float32 {
	sign := uint32(h&0x8000) << 16
	magnitude := uint32(h & 0x7FFF)
	switch {
	case magnitude >= 0x7C00:
		return math.Float32frombits(sign | 0x7F800000 | magnitude<<13)
	case magnitude >= 0x0400:
		return math.Float32frombits(sign | (magnitude<<13 + (127-15)<<23))
	}
	value := float32(magnitude) * (1.0 / (1 << 24))
	return math.Float32frombits(sign | math.Float32bits(value))
}

// ToBFloat16 rounds to the nearest bfloat16, of two to the even one.
func ToBFloat16(value float32) BFloat16Bits {
	bits := math.Float32bits(value)
	if bits&0x7FFFFFFF > 0x7F800000 {
		// A NaN must not be rounded to infinity.
		return BFloat16Bits(bits>>16 | 0x40)
	}
	return BFloat16Bits((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
}

// Float32 gives the same number.
func (b BFloat16Bits) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }
