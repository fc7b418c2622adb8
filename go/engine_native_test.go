//go:build caudal_native

package caudal_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
)

const engineName = "go-native"

// narrow are no attacks: sizes have 64 bits, and the texts are those of attacks.json.
var narrow map[string]string

func TestASessionOnADevice(t *testing.T) {
	devices, err := caudal.Devices()
	check(t, err)
	p := counting(t, 1000)
	if !slices.Contains(devices, "gpu:0") {
		_, err := p.Session(&caudal.Options{Device: "gpu:0"})
		if !errors.Is(err, caudal.ErrDevice) || !strings.Contains(err.Error(), "there is no device gpu:0") {
			t.Errorf("the error is %v", err)
		}
		return
	}
	s := session(t, p, &caudal.Options{Device: "gpu:0", Strict: true})
	for range 3 {
		run(t, s, "train_step", 2)
	}
	if data := floats(t, run(t, s, "predict", 0)["output"]); data[0] != 6 || data[999] != 6 {
		t.Errorf("after steps of 2, 2, 2 the state is %v and %v", data[0], data[999])
	}
	state, err := s.State("w")
	check(t, err)
	if data := floats(t, state); data[0] != 6 {
		t.Errorf("the state is %v", data[0])
	}
	snapshot, err := s.Snapshot()
	check(t, err)
	check(t, s.Restore(snapshot))
}
