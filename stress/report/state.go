// SPDX-License-Identifier: MIT

package report

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// The bounds of a structure's description.
const (
	maxFieldDepth = 3  // structures within structures
	maxItems      = 12 // of a list
	maxValue      = 120
)

// State describes a structure of the machine, one "field: value" a line in the order of its declaration: for
// Options.Snapshot. It performs no operation, shows no address, and leaves out plain fields that are zero,
// functions and contents of buffers.
func State(of any) string {
	var b strings.Builder
	switch of := of.(type) {
	case *kernel.Task:
		taskFields(&b, of)
	case named:
		if of.Freed() {
			b.WriteString("freed: true\n")
		}
		fields(&b, reflect.ValueOf(of).Elem(), "", 0)
	}
	return b.String()
}

// named is an object of the machine.
type named interface {
	Name() string
	Freed() bool
}

func taskFields(b *strings.Builder, t *kernel.Task) {
	fmt.Fprintf(b, "state: %s\nsleeping: %t\nkthread_stop: %t\nexited: %t\n",
		t.State(), t.Sleeping(), t.StopRequested(), t.Exited())
	if doing, _ := t.Doing(); doing != "" {
		fmt.Fprintf(b, "doing: %s\n", doing)
	}
}

// fields describes the fields of the structure v. prefix is the path to it.
func fields(b *strings.Builder, v reflect.Value, prefix string, depth int) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Type == reflect.TypeFor[kernel.Obj]() {
			continue
		}
		name := prefix + f.Name
		x := v.Field(i)
		if text, ok := peek(x); ok {
			fmt.Fprintf(b, "%s: %s\n", name, clip(text, maxValue))
			continue
		}
		switch {
		case isFloor(x.Type()): // nothing that a person could look at
		case x.Kind() == reflect.Struct && f.Anonymous:
			fields(b, x, prefix, depth)
		case x.Kind() == reflect.Struct && depth < maxFieldDepth:
			fields(b, x, name+".", depth+1)
		case x.IsZero():
		default:
			if text := value(x); text != "" {
				fmt.Fprintf(b, "%s: %s\n", name, clip(text, maxValue))
			}
		}
	}
}

// isFloor tells the types of the floor, whose inside is not the port's.
func isFloor(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[kernel.Obj]().PkgPath()
}

// peek reads a cell of the floor without an operation. ok is false for what is none.
func peek(x reflect.Value) (text string, ok bool) {
	if !isFloor(x.Type()) || !x.CanAddr() {
		return "", false
	}
	switch cell := x.Addr().Interface().(type) {
	case *kernel.Flags:
		return none(strings.Join(cell.PeekNames(), " ")), true
	case *kernel.Mutex:
		return holder(cell.PeekOwner()), true
	case *kernel.Spinlock:
		return holder(cell.PeekOwner()), true
	case interface{ Linked() bool }:
		return map[bool]string{true: "linked", false: "not linked"}[cell.Linked()], true
	case *kernel.Timer:
		return armed(cell.Peek()), true
	case *kernel.DelayedWork:
		return armed(cell.Peek()), true
	}
	method := x.Addr().MethodByName("Peek") // of a Var or a List of any type, of a counter
	if !method.IsValid() || method.Type().NumIn() != 0 || method.Type().NumOut() != 1 {
		return "", false
	}
	return value(method.Call(nil)[0]), true
}

func none(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func holder(t *kernel.Task) string {
	if t == nil {
		return "free"
	}
	return "held by " + t.Name()
}

func armed(is bool) string {
	if is {
		return "armed"
	}
	return "not armed"
}

// value spells a plain value: objects and tasks by name, buffers by size, nothing by address. It is empty for what
// has no spelling.
func value(x reflect.Value) string {
	switch x.Kind() {
	case reflect.Func, reflect.Chan, reflect.Map, reflect.UnsafePointer, reflect.Invalid:
		return ""
	case reflect.Pointer, reflect.Interface:
		return pointee(x)
	case reflect.Slice, reflect.Array:
		return items(x)
	case reflect.Struct:
		if f := flat(x); len(f) > 0 {
			return dumper.Sprint(f)
		}
		return ""
	}
	return dumper.Sprint(x.Interface())
}

// pointee names what a pointer or an interface holds.
func pointee(x reflect.Value) string {
	if x.IsNil() {
		return "NULL"
	}
	switch p := x.Interface().(type) {
	case *kernel.Task:
		return p.Name()
	case named:
		if p.Freed() {
			return p.Name() + " (freed)"
		}
		return p.Name()
	}
	if x.Kind() == reflect.Interface && x.Elem().Kind() != reflect.Pointer {
		return value(x.Elem())
	}
	return ""
}

// items spells a list; of octets, and of long lists, only the length.
func items(x reflect.Value) string {
	n := x.Len()
	if x.Type().Elem().Kind() == reflect.Uint8 {
		return fmt.Sprintf("%d octets", n)
	}
	if n == 0 {
		return "empty"
	}
	var list []string
	for i := range min(n, maxItems) {
		text := value(x.Index(i))
		if text == "" {
			return fmt.Sprintf("%d items", n)
		}
		list = append(list, text)
	}
	if n > maxItems {
		list = append(list, fmt.Sprintf("and %d more", n-maxItems))
	}
	return strings.Join(list, ", ")
}

// flat is a structure as a map of its spelt fields.
func flat(x reflect.Value) map[string]string {
	out := map[string]string{}
	for i := range x.NumField() {
		if f := x.Type().Field(i); f.IsExported() && !isFloor(f.Type) && !x.Field(i).IsZero() {
			if text := value(x.Field(i)); text != "" {
				out[f.Name] = text
			}
		}
	}
	return out
}
