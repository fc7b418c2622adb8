//go:build !caudal_native

package caudal_test

const engineName = "go-pure"

// narrow are the attacks with sizes of more than 32 bits, which are refused before they reach a limit.
var narrow = []string{"bytes_2_66", "constant_inline", "folded_to_4_gb", "output_of_2_64_bytes", "output_of_4_gb", "stack_of_4_tb"}
