package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// saveProgram saves a program of one parameter w, which begins as 1: the loss is the mean of w times all pixels, and a
// step takes 0.5 times its gradient off w.
func saveProgram(t *testing.T, path string) {
	t.Helper()
	g := caudal.NewGraph()
	x := g.Input("x", caudal.MustSpec("float32[batch, 28, 28, 1]"))
	y := g.Input("y", caudal.MustSpec("int32[batch]"))
	w := g.State("w", caudal.MustTensor([]float32{1}))
	loss := ops.Mul(w, ops.Mean(x))
	accuracy := ops.Mean(ops.Cast(ops.Equal(y, y), &ops.CastAttrs{DType: caudal.Float32}))
	g.Function("evaluate", caudal.Outputs{"loss": loss, "accuracy": accuracy})
	g.Function("train_step", caudal.Outputs{"loss": loss, "accuracy": accuracy}).
		Minimize(loss, []caudal.Value{w}, caudal.SGD{LearningRate: 0.5})
	p, err := g.Program(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SaveFile(path); err != nil {
		t.Fatal(err)
	}
}

// writeSet writes pictures, each of one brightness, and labels.
func writeSet(t *testing.T, folder, prefix string, brightness ...float32) {
	t.Helper()
	var images []float32
	for _, each := range brightness {
		for range pixels {
			images = append(images, each)
		}
	}
	for name, data := range map[string]any{"images.f32": images, "labels.i32": make([]int32, len(brightness))} {
		text, err := binary.Append(nil, binary.LittleEndian, data)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, prefix+name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestItTrainsOnBatchesInOrderAndEvaluates(t *testing.T) {
	folder := t.TempDir()
	file, out := filepath.Join(folder, "a.caudal"), filepath.Join(folder, "out.json")
	saveProgram(t, file)
	writeSet(t, folder, "", 1, 0, 0.5, 0.5, 1, 1)
	writeSet(t, folder, "eval_", 0.25, 0.25, 0.25)
	err := run(context.Background(), []string{file, "--data", folder, "--steps", "3", "--batch", "2", "--json", out})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	// w is 1, 0.75, 0.5 and at last 0, as batches have a mean of 0.5, 0.5 and 1.
	want := `[0.5,0.375,0.5]`
	if losses, _ := json.Marshal(got["losses"]); string(losses) != want {
		t.Errorf("the losses are %s, expected %s", losses, want)
	}
	if got["accuracy"] != 1.0 || got["evaluation_loss"] != 0.0 || len(got) != 4 {
		t.Errorf("the result is %s", text)
	}
	if ms, is := got["ms_per_step"].(float64); !is || ms <= 0 {
		t.Errorf("a step takes %v ms", got["ms_per_step"])
	}
}

func TestItSaysWhatIsWrongWithTheData(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "a.caudal")
	saveProgram(t, file)
	writeSet(t, folder, "", 1, 1)
	for _, each := range []struct{ steps, batch, err string }{
		{"3", "1", "there are 2 pictures, fewer than 3"},
		{"1", "0", "--data and --json are needed, --steps is 0 or more, --batch 1 or more"},
		{"1", "1", "eval_images.f32: no such file or directory"},
	} {
		out := filepath.Join(folder, "out.json")
		err := run(context.Background(), []string{"--data", folder, file, "--steps", each.steps, "--batch", each.batch, "--json", out})
		if err == nil || !strings.HasSuffix(err.Error(), each.err) {
			t.Errorf("the error is %v, expected %s", err, each.err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("there is a result beside the error %s", each.err)
		}
	}
}
