package caudal

// An Optimizer makes of parameters and gradients the next parameters. It keeps its state in the program:
// NAME/learning_rate, NAME/step, and NAME/SLOT/PARAMETER.
type Optimizer interface {
	settings() optimizerSettings
}

type optimizerSettings struct {
	op       string
	attrs    Attrs
	rate     float64
	name     string
	schedule Schedule
}

// set gives the settings with defaults for what is left out.
func settingsOf(op string, attrs Attrs, rate, usual float64, name string, schedule Schedule) optimizerSettings {
	if rate == 0 {
		rate = usual
	}
	if name == "" {
		name = "optimizer"
	}
	return optimizerSettings{op, attrs, rate, name, schedule}
}

// put sets an attr unless it is left out.
func put[T any](attrs Attrs, name string, value *T) {
	if value != nil {
		attrs[name] = *value
	}
}

// SGD is gradient descent: parameter - learning_rate * gradient; with momentum as in Keras.
type SGD struct {
	// LearningRate is 0.01 if left out.
	LearningRate float64
	// Momentum is how much of the velocity stays from step to step, in [0, 1); 0 keeps none, and no state for it.
	Momentum float64
	// Nesterov moves the parameter on by where the velocity will take it; it needs a momentum.
	Nesterov bool
	// Schedule is what the rate is multiplied by at each step.
	Schedule Schedule
	// Name is the first part of its state's names, optimizer if left out.
	Name string
}

func (o SGD) settings() optimizerSettings {
	attrs, op := Attrs{}, "sgd"
	if o.Momentum != 0 || o.Nesterov {
		op = "sgd_momentum"
		attrs["momentum"] = o.Momentum
	}
	if o.Nesterov {
		attrs["nesterov"] = true
	}
	return settingsOf(op, attrs, o.LearningRate, 0.01, o.Name, o.Schedule)
}

// RMSprop divides the gradient by the root of the average of its square, as in Keras (Tieleman and Hinton 2012).
type RMSprop struct {
	// LearningRate is 0.001 if left out.
	LearningRate float64
	// Rho is how much of the averages stays from step to step, in [0, 1); 0.9 if left out.
	Rho *float64
	// Momentum is how much of the last change is added to the next, in [0, 1); 0 adds none, and keeps no state for it.
	Momentum float64
	// Epsilon is what is added under the root; 1e-7 if left out.
	Epsilon *float64
	// Centered takes the squares about the average gradient, which is kept, too.
	Centered bool
	// Schedule is what the rate is multiplied by at each step.
	Schedule Schedule
	// Name is the first part of its state's names, optimizer if left out.
	Name string
}

func (o RMSprop) settings() optimizerSettings {
	attrs, op := Attrs{}, "rmsprop"
	put(attrs, "rho", o.Rho)
	put(attrs, "epsilon", o.Epsilon)
	if o.Centered {
		op += "_centered"
	}
	if o.Momentum != 0 {
		op += "_momentum"
		attrs["momentum"] = o.Momentum
	}
	return settingsOf(op, attrs, o.LearningRate, 0.001, o.Name, o.Schedule)
}

// Adagrad divides the gradient by the root of the sum of its squares, as in Keras (Duchi, Hazan and Singer 2011).
type Adagrad struct {
	// LearningRate is 0.001 if left out.
	LearningRate float64
	// InitialAccumulatorValue is what the sum begins with, 0 or more; 0.1 if left out.
	InitialAccumulatorValue *float64
	// Epsilon is what is added under the root; 1e-7 if left out.
	Epsilon *float64
	// Schedule is what the rate is multiplied by at each step.
	Schedule Schedule
	// Name is the first part of its state's names, optimizer if left out.
	Name string
}

func (o Adagrad) settings() optimizerSettings {
	attrs := Attrs{}
	put(attrs, "initial_accumulator_value", o.InitialAccumulatorValue)
	put(attrs, "epsilon", o.Epsilon)
	return settingsOf("adagrad", attrs, o.LearningRate, 0.001, o.Name, o.Schedule)
}

// Adam is as in Keras (Kingma and Ba 2014).
type Adam struct {
	// LearningRate is 0.001 if left out.
	LearningRate float64
	// Beta1 is how much of the first moment stays from step to step, in [0, 1); 0.9 if left out.
	Beta1 *float64
	// Beta2 is how much of the second moment stays from step to step, in [0, 1); 0.999 if left out.
	Beta2 *float64
	// Epsilon is what is added to the root of the second moment; 1e-7 if left out.
	Epsilon *float64
	// Schedule is what the rate is multiplied by at each step.
	Schedule Schedule
	// Name is the first part of its state's names, optimizer if left out.
	Name string
}

func (o Adam) settings() optimizerSettings {
	attrs := Attrs{}
	put(attrs, "beta_1", o.Beta1)
	put(attrs, "beta_2", o.Beta2)
	put(attrs, "epsilon", o.Epsilon)
	return settingsOf("adam", attrs, o.LearningRate, 0.001, o.Name, o.Schedule)
}

// AdamW is Adam with decoupled weight decay, as in Keras (Loshchilov and Hutter 2017).
type AdamW struct {
	// LearningRate is 0.001 if left out.
	LearningRate float64
	// WeightDecay is what part of the parameter, times the learning rate, each step takes off; 0.004 if left out.
	WeightDecay *float64
	// Beta1 is how much of the first moment stays from step to step, in [0, 1); 0.9 if left out.
	Beta1 *float64
	// Beta2 is how much of the second moment stays from step to step, in [0, 1); 0.999 if left out.
	Beta2 *float64
	// Epsilon is what is added to the root of the second moment; 1e-7 if left out.
	Epsilon *float64
	// Schedule is what the rate is multiplied by at each step.
	Schedule Schedule
	// Name is the first part of its state's names, optimizer if left out.
	Name string
}

func (o AdamW) settings() optimizerSettings {
	attrs := Attrs{}
	put(attrs, "weight_decay", o.WeightDecay)
	put(attrs, "beta_1", o.Beta1)
	put(attrs, "beta_2", o.Beta2)
	put(attrs, "epsilon", o.Epsilon)
	return settingsOf("adamw", attrs, o.LearningRate, 0.001, o.Name, o.Schedule)
}

// A Schedule gives what the learning rate is multiplied by at each step. It is part of the graph of a training function,
// so that whoever goes on training a saved program goes on with the same rates. Each can begin with a warm-up: for so
// many steps the factor rises from 0 to 1 in a straight line, and the rest begins after them.
type Schedule interface {
	schedule() (op string, attrs Attrs)
}

// ConstantSchedule is a factor of 1 after the warm-up.
type ConstantSchedule struct {
	// WarmupSteps is how many steps the warm-up takes.
	WarmupSteps int
}

func (s ConstantSchedule) schedule() (string, Attrs) {
	return "constant_schedule", Attrs{"warmup_steps": s.WarmupSteps}
}

// CosineSchedule is a factor that falls from 1 to Alpha along half a cosine, and stays there; as in Keras.
type CosineSchedule struct {
	// DecaySteps is how many steps that takes, beside the warm-up.
	DecaySteps int
	// Alpha is the factor that it ends with, from 0 to 1.
	Alpha float64
	// WarmupSteps is how many steps the warm-up takes.
	WarmupSteps int
}

func (s CosineSchedule) schedule() (string, Attrs) {
	return "cosine_schedule", Attrs{"decay_steps": s.DecaySteps, "alpha": s.Alpha, "warmup_steps": s.WarmupSteps}
}

// ExponentialSchedule is a factor that falls by DecayRate in every DecaySteps: DecayRate to the power of
// step / DecaySteps, as in Keras.
type ExponentialSchedule struct {
	// DecaySteps is how many steps that takes.
	DecaySteps int
	// DecayRate is the factor after so many steps, 0 or more.
	DecayRate float64
	// Staircase lets it fall after every DecaySteps alone, and not in between.
	Staircase bool
	// WarmupSteps is how many steps the warm-up takes.
	WarmupSteps int
}

func (s ExponentialSchedule) schedule() (string, Attrs) {
	return "exponential_schedule", Attrs{
		"decay_steps": s.DecaySteps, "decay_rate": s.DecayRate, "staircase": s.Staircase, "warmup_steps": s.WarmupSteps,
	}
}
