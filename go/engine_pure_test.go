//go:build !caudal_native

package caudal_test

const engineName = "go-pure"

// narrow are the texts of the attacks with sizes of more than 32 bits, which are refused before they reach a limit or a
// shape. The codes are those of attacks.json.
var narrow = map[string]string{
	"bytes_2_66": `{file} is not a caudal file: tensor "w": its size 4294967296 is larger than memory can be`,
	"constant_inline": "{file} is not a caudal file: graph 0: node 0: value takes a tensor, " +
		`not {"data":[1],"dtype":"float32","shape":[1099511627776]}`,
	"folded_to_4_gb": "broadcast_to: a float32 tensor of shape [1000000000] is larger than memory can be (model.py:12)",
	"output_of_2_64_bytes": "broadcast_to: the size 4611686018427387904 of the shape [4611686018427387904] " +
		"is larger than memory can be (model.py:12)",
	"output_of_4_gb": "broadcast_to: a float32 tensor of shape [1000000000] is larger than memory can be (model.py:12)",
	"stack_of_4_tb":  "scan: the size 1099511627776 of the shape [1099511627776] is larger than memory can be (model.py:12)",
}
