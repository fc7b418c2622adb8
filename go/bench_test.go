package caudal_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
)

// demo opens the file that `make demo` trains.
func demo(b *testing.B) *caudal.Session {
	b.Helper()
	path := os.Getenv("CAUDAL_BENCH_FILE")
	if path == "" {
		path = filepath.Join(root, "build", "demo", "fashion.caudal")
	}
	s, err := caudal.Load(path, nil)
	if err != nil {
		b.Skipf("run make demo first: %v", err)
	}
	b.Cleanup(func() { check(b, s.Close()) })
	return s
}

func images(n int) caudal.Tensors {
	return caudal.Tensors{"x": caudal.MustTensor(make([]float32, n*784), n, 28, 28, 1)}
}

// BenchmarkCall is a call of a function that does next to nothing.
func BenchmarkCall(b *testing.B) {
	s := session(b, counting(b, 4), nil)
	inputs := caudal.Tensors{"x": scalar(1)}
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Run(background, "predict", inputs)
		check(b, err)
	}
}

// BenchmarkPredict predicts one picture.
func BenchmarkPredict(b *testing.B) {
	s, inputs := demo(b), images(1)
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Run(background, "predict", inputs)
		check(b, err)
	}
}

// BenchmarkPredictEight predicts one picture at a time on eight goroutines.
func BenchmarkPredictEight(b *testing.B) {
	s, inputs := demo(b), images(1)
	// Times GOMAXPROCS.
	b.SetParallelism((8 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Run(background, "predict", inputs); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkTrainStep is a step on 64 pictures.
func BenchmarkTrainStep(b *testing.B) {
	s, inputs := demo(b), images(64)
	inputs["y"] = caudal.MustTensor(make([]int32, 64), 64)
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Run(background, "train_step", inputs)
		check(b, err)
	}
}
