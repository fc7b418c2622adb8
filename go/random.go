package caudal

// RandomKey gives the random key of a seed, uint32[2]. The same key gives the same numbers on every machine and in every
// language.
func RandomKey(seed uint64) *Tensor {
	return MustTensor([]uint32{uint32(seed >> 32), uint32(seed)}, 2)
}

// Ptr gives a pointer to a value, for fields that tell what was left out from 0.
func Ptr[T any](value T) *T { return &value }
