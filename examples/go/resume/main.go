// Resume opens a program file, goes on training it and evaluates: what any other language does with the same file.
//
//	go run ./resume FILE --data FOLDER --json OUT
//
// The folder holds little-endian arrays: images.f32 and labels.i32 to train on, eval_images.f32 and eval_labels.i32.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/caudal-project/caudal/examples/go/internal/command"
	caudal "github.com/caudal-project/caudal/go"
)

const pixels = 28 * 28

// A report is what examples/resume.py writes, too.
type report struct {
	Losses         []float32 `json:"losses"`
	Accuracy       float32   `json:"accuracy"`
	EvaluationLoss float32   `json:"evaluation_loss"`
	MsPerStep      float64   `json:"ms_per_step"`
}

const about = "Opens FILE, goes on training it, evaluates, and writes losses, accuracy and time as JSON."

func main() { command.Main(run) }

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("resume", flag.ContinueOnError)
	data := flags.String("data", "", "the `folder` with the arrays")
	steps := flags.Int("steps", 20, "how many steps to train")
	batch := flags.Int("batch", 64, "how many pictures a step takes")
	out := flags.String("json", "", "the `file` to write the result to")
	file, err := command.File(flags, about, arguments)
	if err != nil {
		return err
	}
	if *data == "" || *out == "" || *steps < 0 || *batch < 1 {
		return &command.UsageError{Message: "--data and --json are needed, --steps is 0 or more, --batch 1 or more"}
	}
	s, err := caudal.Load(file, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	result, err := resume(ctx, s, *data, *steps, *batch)
	if err != nil {
		return err
	}
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, text, 0o666)
}

// resume trains that many steps, each on the next batch, and evaluates.
func resume(ctx context.Context, s *caudal.Session, folder string, steps, batch int) (*report, error) {
	images, labels, err := read(folder, "")
	if err != nil {
		return nil, err
	}
	result := &report{Losses: []float32{}}
	var milliseconds []float64
	for step := range steps {
		inputs, err := part(images, labels, step*batch, batch)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		out, err := s.Run(ctx, "train_step", inputs)
		if err != nil {
			return nil, err
		}
		loss, err := caudal.Scalar[float32](out["loss"])
		if err != nil {
			return nil, err
		}
		milliseconds = append(milliseconds, time.Since(start).Seconds()*1e3)
		result.Losses = append(result.Losses, loss)
	}
	slices.Sort(milliseconds)
	if n := len(milliseconds); n > 0 {
		result.MsPerStep = (milliseconds[(n-1)/2] + milliseconds[n/2]) / 2
	}
	return result, result.evaluate(ctx, s, folder)
}

// evaluate measures on the other set.
func (r *report) evaluate(ctx context.Context, s *caudal.Session, folder string) error {
	images, labels, err := read(folder, "eval_")
	if err != nil {
		return err
	}
	inputs, err := part(images, labels, 0, len(labels))
	if err != nil {
		return err
	}
	out, err := s.Run(ctx, "evaluate", inputs)
	if err != nil {
		return err
	}
	if r.Accuracy, err = caudal.Scalar[float32](out["accuracy"]); err != nil {
		return err
	}
	r.EvaluationLoss, err = caudal.Scalar[float32](out["loss"])
	return err
}

// read gives the pictures and labels of one set.
func read(folder, prefix string) ([]float32, []int32, error) {
	images, err := array[float32](filepath.Join(folder, prefix+"images.f32"))
	if err != nil {
		return nil, nil, err
	}
	labels, err := array[int32](filepath.Join(folder, prefix+"labels.i32"))
	if err == nil && len(images) != pixels*len(labels) {
		err = fmt.Errorf("%s: %simages and %slabels differ in number", folder, prefix, prefix)
	}
	return images, labels, err
}

// array reads little-endian elements.
func array[T float32 | int32](path string) ([]T, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data)%4 != 0 {
		return nil, fmt.Errorf("%s: %d bytes are no whole number of elements", path, len(data))
	}
	values := make([]T, len(data)/4)
	_, err = binary.Decode(data, binary.LittleEndian, values)
	return values, err
}

// part gives some pictures and their labels.
func part(images []float32, labels []int32, start, count int) (caudal.Tensors, error) {
	if start+count > len(labels) {
		return nil, fmt.Errorf("there are %d pictures, fewer than %d", len(labels), start+count)
	}
	x, err := caudal.NewTensor(images[start*pixels:(start+count)*pixels], count, 28, 28, 1)
	if err != nil {
		return nil, err
	}
	y, err := caudal.NewTensor(labels[start:start+count], count)
	return caudal.Tensors{"x": x, "y": y}, err
}
