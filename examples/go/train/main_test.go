package main

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
)

// writeIdx writes a gzipped idx file of bytes.
func writeIdx(t *testing.T, path string, data []byte, shape ...uint32) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(file)
	header := append([]uint32{uint32(8<<8 | len(shape))}, shape...)
	for _, err := range []error{binary.Write(w, binary.BigEndian, header), binary.Write(w, binary.BigEndian, data), w.Close(), file.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// writeDataset writes pictures that tell their label by two bright rows among noise.
func writeDataset(t *testing.T, folder, name string, count int) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(count), 0))
	images, labels := make([]byte, 0, count*pixels), make([]byte, count)
	for i := range labels {
		labels[i] = byte(random.IntN(len(classes)))
		for pixel := range pixels {
			value := byte(random.IntN(100))
			if pixel/side/2 == int(labels[i]) {
				value += 100
			}
			images = append(images, value)
		}
	}
	writeIdx(t, filepath.Join(folder, name+"-labels-idx1-ubyte.gz"), labels, uint32(count))
	writeIdx(t, filepath.Join(folder, name+"-images-idx3-ubyte.gz"), images, uint32(count), side, side)
}

func TestItLearnsAndSavesAFileThatPredictsAndTrainsOn(t *testing.T) {
	ctx, folder := context.Background(), t.TempDir()
	file := filepath.Join(folder, "a.caudal")
	writeDataset(t, folder, "train", 512)
	writeDataset(t, folder, "t10k", 128)
	o := options{file: file, data: folder, epochs: 3, batch: 16, hidden: 16, rate: 5e-3}
	accuracy, err := train(ctx, &o)
	if err != nil {
		t.Fatal(err)
	}
	if accuracy < 0.95 {
		t.Errorf("the accuracy is %v", accuracy)
	}
	s, err := caudal.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	test, err := readDataset(folder, "t10k")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := evaluate(ctx, s, test); err != nil || again != accuracy {
		t.Errorf("the file has the accuracy %v, %v; it was %v", again, err, accuracy)
	}
	inputs, err := test.batch([]int{0, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.Run(ctx, "predict", caudal.Tensors{"x": inputs["x"]})
	if err != nil || before["output"].String() != "float32[3, 10]" {
		t.Fatalf("predict gives %v, %v", before, err)
	}
	for range 2 {
		if _, err := s.Run(ctx, "train_step", inputs); err != nil {
			t.Fatal(err)
		}
	}
	if labels := s.Program().Metadata().(map[string]any)["labels"].([]any); len(labels) != 10 || labels[9] != "Ankle boot" {
		t.Errorf("the labels are %v", labels)
	}
}

func TestDamagedDataIsAnError(t *testing.T) {
	for _, each := range []struct {
		damage func(t *testing.T, folder string)
		err    string
	}{
		{func(t *testing.T, folder string) {
			writeIdx(t, filepath.Join(folder, "train-labels-idx1-ubyte.gz"), make([]byte, 7), 8)
		}, "it has 7 bytes, and should have 8 items of 1"},
		{func(t *testing.T, folder string) {
			writeIdx(t, filepath.Join(folder, "train-labels-idx1-ubyte.gz"), make([]byte, 9), 9)
		}, "there are 8 pictures and 9 labels of train"},
		{func(t *testing.T, folder string) {
			writeIdx(t, filepath.Join(folder, "train-labels-idx1-ubyte.gz"), []byte{0, 0, 0, 10, 0, 0, 0, 0}, 8)
		}, "the label 3 of train is 10, which is no garment"},
		{func(t *testing.T, folder string) {
			writeIdx(t, filepath.Join(folder, "train-images-idx3-ubyte.gz"), make([]byte, 8*pixels), 8, pixels)
		}, "this is no idx file of bytes of rank 3"},
		{func(t *testing.T, folder string) {
			writeIdx(t, filepath.Join(folder, "train-images-idx3-ubyte.gz"), make([]byte, 8*pixels), 8, 14, 56)
		}, "an item has the shape [14 56], expected [28 28]"},
		{func(t *testing.T, folder string) {
			if err := os.WriteFile(filepath.Join(folder, "train-images-idx3-ubyte.gz"), []byte("<html>"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "unexpected EOF"},
	} {
		folder := t.TempDir()
		writeDataset(t, folder, "train", 8)
		each.damage(t, folder)
		if _, err := readDataset(folder, "train"); err == nil || !strings.HasSuffix(err.Error(), each.err) {
			t.Errorf("the error is %v, expected %s", err, each.err)
		}
	}
}
