//go:build caudal_native

package caudal_test

const engineName = "go-native"

var narrow []string
