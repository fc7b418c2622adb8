//go:build !caudal_native

package caudal

import (
	"github.com/caudal-project/caudal/go/internal/engine"
	"github.com/caudal-project/caudal/go/internal/wasm"
)

func newEngine() (engine.Engine, error) {
	return wasm.New()
}
