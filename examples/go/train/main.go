// Train trains a small network on Fashion-MNIST from nothing: graph, gradient and optimiser are built here. It saves one
// file, which Python, JavaScript and C open and go on training.
//
//	go run ./train fashion.caudal
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/caudal-project/caudal/examples/go/internal/command"
	caudal "github.com/caudal-project/caudal/go"
)

const about = "Trains a network on Fashion-MNIST from nothing, and saves it with train_step in FILE."

type options struct {
	file, data            string
	epochs, batch, hidden int
	rate                  float64
	seed                  uint64
}

func main() { command.Main(run) }

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("train", flag.ContinueOnError)
	var o options
	flags.StringVar(&o.data, "data", "/usr/share/datasets/fashion-mnist", "the `folder` with the four idx .gz files")
	flags.IntVar(&o.epochs, "epochs", 8, "how often each picture is seen")
	flags.IntVar(&o.batch, "batch", 64, "how many pictures a step takes")
	flags.IntVar(&o.hidden, "hidden", 128, "how many units the hidden layer has")
	flags.Float64Var(&o.rate, "rate", 2e-3, "the learning rate of the first epoch; it falls evenly, to 0 after the last")
	flags.Uint64Var(&o.seed, "seed", 0, "what weights and order are drawn from")
	var err error
	if o.file, err = command.File(flags, about, arguments); err != nil {
		return err
	}
	if o.epochs < 0 || o.batch < 1 || o.hidden < 1 {
		return &command.UsageError{Message: "--epochs is 0 or more, --batch and --hidden 1 or more"}
	}
	accuracy, err := train(ctx, &o)
	if err != nil {
		return err
	}
	fmt.Printf("test accuracy %.4f, saved %s\n", accuracy, o.file)
	return nil
}

// train trains and saves; gives the share of right answers on the test pictures.
func train(ctx context.Context, o *options) (float64, error) {
	training, err := readDataset(o.data, "train")
	if err != nil {
		return 0, err
	}
	test, err := readDataset(o.data, "t10k")
	if err != nil {
		return 0, err
	}
	program, err := build(ctx, o.seed, o.hidden)
	if err != nil {
		return 0, err
	}
	s, err := program.Session(nil)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	random := rand.New(rand.NewPCG(o.seed, 0))
	accuracy := math.NaN()
	for epoch := range o.epochs {
		rate := caudal.MustTensor([]float32{float32(o.rate * (1 - float64(epoch)/float64(o.epochs)))})
		if err := s.SetState(caudal.Tensors{"optimizer/learning_rate": rate}); err != nil {
			return 0, err
		}
		progress := newProgress(fmt.Sprintf("epoch %d/%d", epoch+1, o.epochs), training.len()/o.batch)
		if err := trainEpoch(ctx, s, training, random.Perm(training.len()), o.batch, progress); err != nil {
			return 0, err
		}
		if accuracy, err = evaluate(ctx, s, test); err != nil {
			return 0, err
		}
		progress.end(accuracy)
	}
	return accuracy, s.SaveFile(o.file)
}

// trainEpoch makes a step for each whole batch of the order.
func trainEpoch(ctx context.Context, s *caudal.Session, d *dataset, order []int, batch int, progress *progress) error {
	for ; len(order) >= batch; order = order[batch:] {
		inputs, err := d.batch(order[:batch])
		if err != nil {
			return err
		}
		start := time.Now()
		out, err := s.Run(ctx, "train_step", inputs)
		if err != nil {
			return err
		}
		took := time.Since(start)
		loss, err := caudal.Scalar[float32](out["loss"])
		if err != nil {
			return err
		}
		progress.step(float64(loss), took)
	}
	return nil
}

// evaluate gives the share of right answers.
func evaluate(ctx context.Context, s *caudal.Session, d *dataset) (float64, error) {
	const most = 1000
	right := 0.0
	for start := 0; start < d.len(); start += most {
		indices := make([]int, min(most, d.len()-start))
		for i := range indices {
			indices[i] = start + i
		}
		inputs, err := d.batch(indices)
		if err != nil {
			return 0, err
		}
		out, err := s.Run(ctx, "evaluate", inputs)
		if err != nil {
			return 0, err
		}
		share, err := caudal.Scalar[float32](out["accuracy"])
		if err != nil {
			return 0, err
		}
		right += float64(share) * float64(len(indices))
	}
	return right / float64(d.len()), nil
}

// progress is a line on stderr: on a terminal it is renewed as steps are made, else it is printed at the end.
type progress struct {
	name         string
	steps, all   int
	loss         float64
	busy         time.Duration
	terminal     bool
	began, shown time.Time
}

func newProgress(name string, all int) *progress {
	about, err := os.Stderr.Stat()
	return &progress{name: name, all: all, terminal: err == nil && about.Mode()&os.ModeCharDevice != 0, began: time.Now()}
}

// step counts a step.
func (p *progress) step(loss float64, took time.Duration) {
	p.steps++
	p.loss += (loss - p.loss) / float64(p.steps)
	p.busy += took
	if now := time.Now(); p.terminal && now.Sub(p.shown) > 100*time.Millisecond {
		p.shown = now
		fmt.Fprintf(os.Stderr, "\r%s  step %d/%d  loss %.4f ", p.name, p.steps, p.all, p.loss)
	}
}

// end prints the whole line.
func (p *progress) end(accuracy float64) {
	if p.terminal {
		fmt.Fprint(os.Stderr, "\r")
	}
	fmt.Fprintf(os.Stderr, "%s  %d steps  loss %.4f  test accuracy %.4f  %.2f ms/step  %.1f s\n", p.name, p.steps, p.loss,
		accuracy, p.busy.Seconds()*1e3/float64(max(p.steps, 1)), time.Since(p.began).Seconds())
}
