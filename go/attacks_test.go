package caudal_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
)

type attack struct {
	Code, Open, Call string
	Memory           uint64
	Seconds          float64
}

func TestAttacksAreRefused(t *testing.T) {
	var attacks map[string]attack
	readJSON(t, &attacks, "tests", "attacks", "attacks.json")
	if len(attacks) < 100 {
		t.Fatalf("there are only %d attacks", len(attacks))
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(root, "tests", "attacks", "files", name+".caudal")
			limits := caudal.Limits{Memory: attack.Memory, Duration: time.Duration(attack.Seconds * float64(time.Second))}
			if limits.Memory == 0 {
				limits.Memory = 64 << 20
			}
			s, err := caudal.Load(path, &caudal.Options{Limits: limits})
			expected := attack.Open
			if err == nil {
				if attack.Open != "" {
					t.Fatal("it opens")
				}
				_, err = s.Run(context.Background(), "f", nil)
				expected = attack.Call
			}
			if text, narrower := narrow[name]; narrower {
				expected = text
			}
			expect(t, err, caudal.Code(attack.Code), strings.ReplaceAll(expected, "{file}", path))
		})
	}
}

func TestMutatedFilesDoNoHarm(t *testing.T) {
	good := readFile(t, "tests", "fixtures", "0.1.0.caudal")
	random := rand.New(rand.NewPCG(1, 2))
	limits := caudal.Limits{Memory: 64 << 20, Duration: 200 * time.Millisecond}
	for round := range 300 {
		data := bytes.Clone(good)
		for range 1 + random.IntN(8) {
			at := random.IntN(len(data))
			switch random.IntN(3) {
			case 0:
				data[at] ^= 1 << random.IntN(8)
			case 1:
				data[at] = byte(random.IntN(256))
			default:
				data = append(data[:at], data[min(len(data), at+1+random.IntN(4)):]...)
			}
		}
		p, err := caudal.Read(bytes.NewReader(data), &caudal.Options{Limits: limits})
		if err != nil {
			known(t, round, err)
			continue
		}
		s, err := p.Session(&caudal.Options{Limits: limits})
		if err != nil {
			known(t, round, err)
			continue
		}
		for _, function := range p.Functions() {
			if _, err := s.Run(context.Background(), function.Name, inputsOf(t, &function)); err != nil {
				known(t, round, err)
			}
		}
		check(t, s.Close())
	}
}

// known refuses errors that are mistakes in caudal.
func known(t *testing.T, round int, err error) {
	t.Helper()
	if e := errorOf(t, err); errors.Is(e, caudal.ErrInternal) {
		t.Errorf("round %d: %v", round, err)
	}
}

// inputsOf makes zeros for the inputs of a function, with 2 for every symbol.
func inputsOf(t *testing.T, function *caudal.Function) caudal.Tensors {
	t.Helper()
	inputs := caudal.Tensors{}
	for _, input := range function.Inputs {
		spec := caudal.Spec{DType: input.Spec.DType}
		for _, dim := range input.Spec.Dims {
			size, known := dim.Size()
			if !known || size > 1000 {
				size = 2
			}
			spec.Dims = append(spec.Dims, caudal.Size(size))
		}
		inputs[input.Name] = filled(t, spec, 0)
	}
	return inputs
}
