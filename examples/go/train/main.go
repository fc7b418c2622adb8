// Train builds a classifier of garments from nothing: graph, gradient and optimizer, all in Go. It trains on
// Fashion-MNIST and saves a file that every language runs and goes on training.
//
//	go run ./train --data /usr/share/datasets/fashion-mnist --out build/train.caudal
package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

const (
	pixels      = 28 * 28
	hiddenUnits = 256
)

var labels = []string{
	"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	data := flag.String("data", "/usr/share/datasets/fashion-mnist", "the folder with the four files of Fashion-MNIST")
	out := flag.String("out", "fashion.caudal", "where to save the program")
	epochs := flag.Int("epochs", 5, "how often to go through the pictures")
	batch := flag.Int("batch", 64, "how many pictures a step takes")
	count := flag.Int("count", 0, "how many pictures to train on; 0 is all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	training, err := readSet(*data, "train", *count)
	if err != nil {
		return err
	}
	test, err := readSet(*data, "t10k", 0)
	if err != nil {
		return err
	}
	p, err := build(ctx, *epochs*len(training.labels) / *batch)
	if err != nil {
		return err
	}
	s, err := p.Session(nil)
	if err != nil {
		return err
	}
	defer s.Close()
	for epoch := range *epochs {
		if err := trainEpoch(ctx, s, training, *batch, epoch); err != nil {
			return err
		}
		accuracy, err := evaluate(ctx, s, test)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "\repoch %d of %d: test accuracy %.4f                    \n", epoch+1, *epochs, accuracy)
	}
	return s.SaveFile(*out)
}

// build makes the program: two dense layers, the loss, Adam with a rate that falls to a tenth in so many steps.
func build(ctx context.Context, steps int) (*caudal.Program, error) {
	g := caudal.NewGraph()
	x, y := g.Input("x", caudal.MustSpec("float32[batch, 28, 28, 1]")), g.Input("y", caudal.MustSpec("int32[batch]"))
	h := ops.Reshape(x, &ops.ReshapeAttrs{Shape: caudal.Dims("batch", pixels)})
	var parameters []caudal.Value
	dense := func(x caudal.Value, name string, in, out int, seed uint64) (caudal.Value, error) {
		kernel, err := glorot(ctx, in, out, seed)
		if err != nil {
			return x, err
		}
		w := g.State(name+"/kernel", kernel)
		b := g.State(name+"/bias", caudal.MustTensor(make([]float32, out), out))
		parameters = append(parameters, w, b)
		return ops.Add(ops.MatMul(x, w), b), nil
	}
	hidden, err := dense(h, "hidden", pixels, hiddenUnits, 0)
	if err != nil {
		return nil, err
	}
	logits, err := dense(ops.Relu(hidden), "logits", hiddenUnits, len(labels), 1)
	if err != nil {
		return nil, err
	}
	loss := ops.Mean(ops.SoftmaxCrossEntropy(logits, y))
	found := ops.Cast(ops.Argmax(logits, &ops.ArgmaxAttrs{Axis: caudal.Ptr(-1)}), &ops.CastAttrs{DType: caudal.Int32})
	right := ops.Cast(ops.Equal(found, y), &ops.CastAttrs{DType: caudal.Float32})
	results := caudal.Outputs{"loss": loss, "accuracy": ops.Mean(right)}
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(logits)},
		caudal.FunctionOptions{Doc: "Probabilities of the ten garments, of images with values from 0 to 1."})
	g.Function("evaluate", results)
	rate := caudal.CosineSchedule{DecaySteps: max(steps, 1), Alpha: 0.1}
	g.Function("train_step", results).Minimize(loss, parameters, caudal.Adam{LearningRate: 1e-3, Schedule: rate})
	return g.Program(map[string]any{"labels": labels})
}

// glorot draws the first values of a kernel (Glorot and Bengio 2010).
func glorot(ctx context.Context, in, out int, seed uint64) (*caudal.Tensor, error) {
	drawn, err := caudal.Eager(ctx, "normal", &ops.NormalAttrs{Shape: caudal.Dims(in, out)}, caudal.RandomKey(seed))
	if err != nil {
		return nil, err
	}
	width := caudal.MustTensor([]float32{float32(1 / (float64(in+out) / 2))})
	root, err := caudal.Eager(ctx, "sqrt", nil, width)
	if err != nil {
		return nil, err
	}
	scaled, err := caudal.Eager(ctx, "mul", nil, drawn[0], root[0])
	if err != nil {
		return nil, err
	}
	return scaled[0], nil
}

// A set is pictures with values from 0 to 1, and their labels.
type set struct {
	images []float32
	labels []int32
}

// batch gives the pictures of some indices as inputs.
func (s *set) batch(indices []int) (caudal.Tensors, error) {
	images, labels := make([]float32, 0, pixels*len(indices)), make([]int32, 0, len(indices))
	for _, i := range indices {
		images = append(images, s.images[pixels*i:pixels*(i+1)]...)
		labels = append(labels, s.labels[i])
	}
	x, err := caudal.NewTensor(images, len(indices), 28, 28, 1)
	if err != nil {
		return nil, err
	}
	y, err := caudal.NewTensor(labels, len(indices))
	return caudal.Tensors{"x": x, "y": y}, err
}

func trainEpoch(ctx context.Context, s *caudal.Session, training *set, batch, epoch int) error {
	order := rand.New(rand.NewPCG(0, uint64(epoch))).Perm(len(training.labels))
	start, shown, sum := time.Now(), time.Now(), 0.0
	for step := 0; (step+1)*batch <= len(order); step++ {
		inputs, err := training.batch(order[step*batch : (step+1)*batch])
		if err != nil {
			return err
		}
		out, err := s.Run(ctx, "train_step", inputs)
		if err != nil {
			return err
		}
		loss, err := caudal.Scalar[float32](out["loss"])
		if err != nil {
			return err
		}
		sum += float64(loss)
		if time.Since(shown) > 200*time.Millisecond {
			shown = time.Now()
			done := float64((step+1)*batch) / float64(len(order))
			fmt.Fprintf(os.Stderr, "\repoch %d: %3.0f %%, loss %.4f, %.0f pictures a second   ",
				epoch+1, 100*done, sum/float64(step+1), float64((step+1)*batch)/time.Since(start).Seconds())
		}
	}
	return nil
}

func evaluate(ctx context.Context, s *caudal.Session, test *set) (float64, error) {
	const batch = 1000
	sum, parts := 0.0, 0
	for start := 0; start+batch <= len(test.labels); start += batch {
		indices := make([]int, batch)
		for i := range indices {
			indices[i] = start + i
		}
		inputs, err := test.batch(indices)
		if err != nil {
			return 0, err
		}
		out, err := s.Run(ctx, "evaluate", inputs)
		if err != nil {
			return 0, err
		}
		accuracy, err := caudal.Scalar[float32](out["accuracy"])
		if err != nil {
			return 0, err
		}
		sum, parts = sum+float64(accuracy), parts+1
	}
	return sum / float64(parts), nil
}

// readSet reads the two files of a set; at most count pictures if that is above 0.
func readSet(folder, name string, count int) (*set, error) {
	images, err := readIDX(filepath.Join(folder, name+"-images-idx3-ubyte"), 3)
	if err != nil {
		return nil, err
	}
	answers, err := readIDX(filepath.Join(folder, name+"-labels-idx1-ubyte"), 1)
	if err != nil {
		return nil, err
	}
	if len(images) != pixels*len(answers) {
		return nil, fmt.Errorf("%s: the pictures and labels of %s differ in number", folder, name)
	}
	if count > 0 && count < len(answers) {
		answers = answers[:count]
	}
	s := &set{make([]float32, pixels*len(answers)), make([]int32, len(answers))}
	for i := range s.images {
		s.images[i] = float32(images[i]) / 255
	}
	for i, label := range answers {
		s.labels[i] = int32(label)
	}
	return s, nil
}

// readIDX reads a file of MNIST's format, which may be compressed: .gz.
func readIDX(path string, rank int) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.Open(path + ".gz")
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var r io.Reader = bufio.NewReader(file)
	if filepath.Ext(file.Name()) == ".gz" {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
	}
	header := make([]uint32, 1+rank)
	if err := binary.Read(r, binary.BigEndian, header); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	if header[0] != uint32(0x800+rank) {
		return nil, fmt.Errorf("%s is no file of %d axes of bytes", file.Name(), rank)
	}
	size := 1
	for _, dim := range header[1:] {
		size *= int(dim)
	}
	const most = 1 << 30
	if size > most {
		return nil, fmt.Errorf("%s says that it has %d bytes", file.Name(), size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return data, nil
}
