package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	caudal "github.com/caudal-project/caudal/go"
)

// side is how wide and high a picture is.
const side = 28

const pixels = side * side

// classes are the garments, by their labels.
var classes = []string{
	"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
}

// A dataset is pictures, each of 28 x 28 bytes, and their labels, each below 10.
type dataset struct{ images, labels []byte }

// readDataset reads the pair of gzipped idx files whose names begin with train or t10k.
func readDataset(folder, name string) (*dataset, error) {
	labels, err := readIdx(filepath.Join(folder, name+"-labels-idx1-ubyte.gz"))
	if err != nil {
		return nil, err
	}
	images, err := readIdx(filepath.Join(folder, name+"-images-idx3-ubyte.gz"), side, side)
	if err != nil {
		return nil, err
	}
	if len(images) != pixels*len(labels) {
		return nil, fmt.Errorf("%s: there are %d pictures and %d labels of %s", folder, len(images)/pixels, len(labels), name)
	}
	for i, label := range labels {
		if int(label) >= len(classes) {
			return nil, fmt.Errorf("%s: the label %d of %s is %d, which is no garment", folder, i, name, label)
		}
	}
	return &dataset{images, labels}, nil
}

// readIdx reads a gzipped idx file of bytes: any number of items of that shape.
func readIdx(path string, shape ...int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// Two bytes 0, the dtype (8 is a byte), the rank; then each size, big-endian.
	header := make([]uint32, 2+len(shape))
	if err := binary.Read(r, binary.BigEndian, header); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if header[0] != uint32(8<<8|1+len(shape)) {
		return nil, fmt.Errorf("%s: this is no idx file of bytes of rank %d", path, 1+len(shape))
	}
	size := 1
	for i, dim := range shape {
		if header[2+i] != uint32(dim) {
			return nil, fmt.Errorf("%s: an item has the shape %v, expected %v", path, header[2:], shape)
		}
		size *= dim
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) != size*int(header[1]) {
		return nil, fmt.Errorf("%s: it has %d bytes, and should have %d items of %d", path, len(data), header[1], size)
	}
	return data, nil
}

func (d *dataset) len() int { return len(d.labels) }

// batch gives the examples of these indices as x, float32[n, 28, 28, 1] with pixels in [0, 1], and y, int32[n].
func (d *dataset) batch(indices []int) (caudal.Tensors, error) {
	images, labels := make([]float32, 0, pixels*len(indices)), make([]int32, len(indices))
	for i, index := range indices {
		for _, pixel := range d.images[pixels*index : pixels*(index+1)] {
			images = append(images, float32(pixel)/255)
		}
		labels[i] = int32(d.labels[index])
	}
	x, err := caudal.NewTensor(images, len(indices), side, side, 1)
	if err != nil {
		return nil, err
	}
	y, err := caudal.NewTensor(labels, len(indices))
	return caudal.Tensors{"x": x, "y": y}, err
}
