// Serve answers over HTTP with a program file, and goes on training it with the feedback that it gets.
//
//	go run ./serve fashion.caudal
package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/caudal-project/caudal/examples/go/internal/command"
)

const usage = `Serves FILE, a program with predict and train_step, over HTTP with JSON:

  POST /predict   {"pixels": [...]}, one image or a list of them  ->  {"predictions": [{"class", "label", "probabilities"}]}
  POST /feedback  {"pixels": [...], "label": 9}, or a name        ->  202, learned soon; 429 when the queue is full
  GET  /healthz   whether it takes requests
  GET  /info      functions, steps learned and saved, memory

An error is {"error": text, "code": word}. SIGTERM and SIGINT end it: it answers what it was asked, learns what it took,
saves.`

type options struct {
	file, save, address   string
	batch, queue, readers int
	body                  int64
	memory                uint64
	wait, timeout         time.Duration
	every, grace          time.Duration
	level                 slog.Level
}

func main() { command.Main(run) }

func run(ctx context.Context, arguments []string) error {
	o, err := parse(arguments)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.level}))
	s, err := newService(o, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		_ = s.model.session.Close()
		return err
	}
	return s.run(ctx, listener)
}

// parse reads the command line.
func parse(arguments []string) (*options, error) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	var o options
	flags.StringVar(&o.address, "address", "127.0.0.1:8080", "`host:port` to listen on")
	flags.StringVar(&o.save, "save", "", "the `file` that is saved; default FILE")
	flags.DurationVar(&o.every, "every", 30*time.Second, "how often what was learned is saved")
	flags.IntVar(&o.batch, "batch", 16, "how many examples of feedback a step has at most")
	flags.DurationVar(&o.wait, "wait", 200*time.Millisecond, "how long feedback waits for more, to make a batch")
	flags.IntVar(&o.queue, "queue", 1024, "how much feedback may wait")
	flags.IntVar(&o.readers, "readers", 0,
		"how many copies of the state predictions run on, beside the one that learns (default as many as processors)")
	flags.Uint64Var(&o.memory, "memory", 512, "how many `MiB` the program, its copies and all calls take together")
	flags.Int64Var(&o.body, "body", 1<<20, "how many `bytes` a request's body has at most")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "how long a request may take, reading it included")
	flags.DurationVar(&o.grace, "grace", 10*time.Second, "how long stopping may take, beside saving")
	flags.TextVar(&o.level, "log", slog.LevelInfo, "the least `level` that is logged; debug has every request")
	var err error
	if o.file, err = command.File(flags, usage, arguments); err != nil {
		return nil, err
	}
	if o.save == "" {
		o.save = o.file
	}
	if o.batch < 1 || o.queue < 1 || o.body < 1 || o.memory < 1 || o.memory > 1<<20 {
		return nil, &command.UsageError{Message: "--batch, --queue, --body and --memory are at least 1, --memory at most 1048576"}
	}
	if o.every <= 0 || o.timeout <= 0 || o.grace <= 0 || o.wait < 0 {
		return nil, &command.UsageError{Message: "--every, --timeout and --grace are above 0, --wait is 0 or more"}
	}
	return &o, nil
}
