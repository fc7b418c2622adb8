package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	caudal "github.com/caudal-project/caudal/go"
)

// A model is a session whose program classifies images: predict takes float32[batch, ...] and gives
// float32[batch, classes]; train_step takes such images and labels, int32[batch], and gives a loss.
type model struct {
	session *caudal.Session
	// labels name the classes where metadata does, else they are empty.
	labels []string
	// dims are those of an image, and size is their product.
	dims          []int
	size, classes int
	// The names of inputs and of the output.
	predictImage, probabilities, image, label string
}

// newModel looks at what the program has.
func newModel(s *caudal.Session) (*model, error) {
	m := &model{session: s}
	predict, err := s.Program().Function("predict")
	if err != nil {
		return nil, err
	}
	train, err := s.Program().Function("train_step")
	if err != nil {
		return nil, err
	}
	if len(predict.Inputs) != 1 || len(predict.Outputs) != 1 {
		return nil, fmt.Errorf("%s: a predict with one input and one output is needed", predict)
	}
	m.predictImage, m.probabilities = predict.Inputs[0].Name, predict.Outputs[0].Name
	if m.dims, m.size, err = item(predict.Inputs[0].Spec, caudal.Float32); err != nil {
		return nil, fmt.Errorf("%s: %w", predict, err)
	}
	dims, classes, err := item(predict.Outputs[0].Spec, caudal.Float32)
	if err != nil || len(dims) != 1 {
		return nil, fmt.Errorf("%s: an output such as float32[batch, 10] is needed", predict)
	}
	m.classes = classes
	for _, input := range train.Inputs {
		switch spec := input.Spec; {
		case spec.String() == predict.Inputs[0].Spec.String() && m.image == "":
			m.image = input.Name
		case spec.DType == caudal.Int32 && len(spec.Dims) == 1 && m.label == "":
			m.label = input.Name
		default:
			return nil, fmt.Errorf("%s: inputs such as %s and int32[batch] are needed", train, predict.Inputs[0].Spec)
		}
	}
	if m.image == "" || m.label == "" || !has(train.Outputs, "loss") || len(train.Writes) == 0 {
		return nil, fmt.Errorf("%s: a train_step of images and labels with the output loss is needed", train)
	}
	return m, m.nameClasses()
}

// item gives the dims of one of a batch, and their product.
func item(spec caudal.Spec, dtype caudal.DType) (dims []int, size int, err error) {
	if spec.DType != dtype || len(spec.Dims) < 2 {
		return nil, 0, fmt.Errorf("%s is not such as %s[batch, 784]", spec, dtype)
	}
	size = 1
	for _, dim := range spec.Dims[1:] {
		known, is := dim.Size()
		if !is {
			return nil, 0, fmt.Errorf("%s leaves open how large an item is", spec)
		}
		dims, size = append(dims, known), size*known
	}
	if _, fixed := spec.Dims[0].Size(); fixed {
		return nil, 0, fmt.Errorf("%s has a fixed batch", spec)
	}
	return dims, size, nil
}

func has(all []caudal.Named, name string) bool {
	for _, each := range all {
		if each.Name == name {
			return true
		}
	}
	return false
}

// nameClasses takes the labels of metadata, where there are as many as classes.
func (m *model) nameClasses() error {
	metadata, _ := m.session.Program().Metadata().(map[string]any)
	names, there := metadata["labels"].([]any)
	if !there {
		return nil
	}
	for _, name := range names {
		m.labels = append(m.labels, fmt.Sprint(name))
	}
	if len(m.labels) != m.classes {
		return fmt.Errorf("metadata has %d labels for %d classes", len(m.labels), m.classes)
	}
	return nil
}

// A prediction is what the program says of an image.
type prediction struct {
	Class         int       `json:"class"`
	Label         string    `json:"label,omitempty"`
	Probabilities []float32 `json:"probabilities"`
}

// predict classifies images.
func (m *model) predict(ctx context.Context, images pixels) ([]prediction, error) {
	x, err := m.tensor(images)
	if err != nil {
		return nil, err
	}
	out, err := m.session.Run(ctx, "predict", caudal.Tensors{m.predictImage: x})
	if err != nil {
		return nil, err
	}
	all, err := caudal.Data[float32](out[m.probabilities])
	if err != nil {
		return nil, err
	}
	predictions := make([]prediction, len(images))
	for i := range predictions {
		row := all[i*m.classes : (i+1)*m.classes]
		best := 0
		for class, probability := range row {
			if probability > row[best] {
				best = class
			}
		}
		predictions[i] = prediction{Class: best, Probabilities: row}
		if m.labels != nil {
			predictions[i].Label = m.labels[best]
		}
	}
	return predictions, nil
}

// An example is an image and its class.
type example struct {
	image []float32
	class int32
}

// learn makes a step on examples; gives the loss before it. On an error the state is as it was.
func (m *model) learn(ctx context.Context, examples []example) (float32, error) {
	images, classes := make(pixels, len(examples)), make([]int32, len(examples))
	for i, each := range examples {
		images[i], classes[i] = each.image, each.class
	}
	x, err := m.tensor(images)
	if err != nil {
		return 0, err
	}
	y, err := caudal.NewTensor(classes, len(classes))
	if err != nil {
		return 0, err
	}
	out, err := m.session.Run(ctx, "train_step", caudal.Tensors{m.image: x, m.label: y})
	if err != nil {
		return 0, err
	}
	return caudal.Scalar[float32](out["loss"])
}

// tensor makes a batch; each image must have as many numbers as the program takes.
func (m *model) tensor(images pixels) (*caudal.Tensor, error) {
	if len(images) == 0 {
		return nil, refused(caudal.CodeArgument, "pixels: there is no image")
	}
	flat := make([]float32, 0, len(images)*m.size)
	for i, image := range images {
		if len(image) != m.size {
			return nil, refused(caudal.CodeShape, "pixels: image %d has %d numbers, expected %d, which are %v", i, len(image),
				m.size, m.dims)
		}
		flat = append(flat, image...)
	}
	return caudal.NewTensor(flat, append([]int{len(images)}, m.dims...)...)
}

// class gives the class that a label, a number or a name, means.
func (m *model) class(label any) (int32, error) {
	switch label := label.(type) {
	case string:
		for class, name := range m.labels {
			if name == label {
				return int32(class), nil
			}
		}
		return 0, refused(caudal.CodeArgument, "label: there is no class %q; there are %q", label, m.labels)
	case float64:
		if class := int32(label); float64(class) == label && class >= 0 && int(class) < m.classes {
			return class, nil
		}
		return 0, refused(caudal.CodeArgument, "label: %v is no class; they are 0 to %d", label, m.classes-1)
	}
	return 0, refused(caudal.CodeArgument, "label: give the number or the name of a class")
}

// pixels are the numbers of images. In JSON they are a list of lists or, for one image, a list of numbers.
type pixels [][]float32

// UnmarshalJSON reads either form.
func (p *pixels) UnmarshalJSON(text []byte) error {
	// Go takes null for 0.
	if bytes.Contains(text, []byte("null")) {
		return refused(caudal.CodeFormat, "pixels: null is no number")
	}
	var err error
	if rest, list := bytes.CutPrefix(text, []byte("[")); list && startsWith(rest, "[]") {
		err = json.Unmarshal(text, (*[][]float32)(p))
	} else {
		*p = make(pixels, 1)
		err = json.Unmarshal(text, &(*p)[0])
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return refused(caudal.CodeFormat, "pixels: float32 numbers in a list, or such lists in a list, are needed, not the %s",
			kind.Value)
	}
	return err
}

// startsWith tells whether JSON goes on with one of these characters.
func startsWith(text []byte, characters string) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && strings.IndexByte(characters, text[0]) >= 0
}
