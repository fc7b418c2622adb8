//go:build caudal_native

package caudal

import (
	"github.com/caudal-project/caudal/go/internal/engine"
	"github.com/caudal-project/caudal/go/internal/native"
)

func newEngine() (engine.Engine, error) {
	return native.Library{}, nil
}
