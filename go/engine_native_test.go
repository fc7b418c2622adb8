//go:build caudal_native

package caudal_test

const engineName = "go-native"

// narrow are no attacks: sizes have 64 bits, and the texts are those of attacks.json.
var narrow map[string]string
