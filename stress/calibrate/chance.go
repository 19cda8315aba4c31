// SPDX-License-Identifier: MIT

package calibrate

import "math"

// level is how unlikely a deviation must be to be no chance. With a fixed seed a calibration is the same every time, so
// it fails by chance either always or never; this small, there are not enough rows for it to be always.
const level = 1e-6

// enoughExpected is how many of each kind must be expected for the chi-square distribution to be the right one.
const enoughExpected = 10

// hits is how likely it is to be at least as far off as k hits in n draws of probability p are: by chi-square, or
// exactly where that is no good.
func hits(k, n int, p float64) float64 {
	expect := p * float64(n)
	switch {
	case p <= 0 || p >= 1:
		if float64(k) == expect {
			return 1
		}
		return 0
	case expect >= enoughExpected && float64(n)-expect >= enoughExpected:
		d := float64(k) - expect
		return chiSquare(d*d/(expect*(1-p)), 1)
	}
	below := binomial(k, n, p)
	atLeast := 1.
	if k > 0 {
		atLeast = 1 - binomial(k-1, n, p)
	}
	return min(1, 2*min(below, atLeast))
}

// same is how likely two samples of one probability are to be at least as far apart as a of n and b of m are.
func same(a, n, b, m int) float64 {
	p := float64(a+b) / float64(n+m)
	if p == 0 || p == 1 {
		return 1
	}
	d := float64(a)/float64(n) - float64(b)/float64(m)
	return chiSquare(d*d/(p*(1-p)*(1/float64(n)+1/float64(m))), 1)
}

// spread is how likely counts are to be at least as far off the expected ones as they are. Kinds of which too few are
// expected count as one.
func spread(got []int, want []float64) float64 {
	x, kinds := 0., 0
	add := func(k int, w float64) {
		if w > 0 {
			x += (float64(k) - w) * (float64(k) - w) / w
			kinds++
		}
	}
	rest, few := 0, 0.
	for i, w := range want {
		if w < enoughExpected {
			rest += got[i]
			few += w
		} else {
			add(got[i], w)
		}
	}
	add(rest, few)
	return chiSquare(x, kinds-1)
}

// binomial is the probability of at most k hits in n draws.
func binomial(k, n int, p float64) float64 {
	logP, logQ := math.Log(p), math.Log1p(-p)
	of, _ := math.Lgamma(float64(n + 1))
	sum := 0.
	for i := 0; i <= k; i++ {
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(of - a - b + float64(i)*logP + float64(n-i)*logQ)
	}
	return min(1, sum)
}

// chiSquare is the probability that a chi-square variable of so many degrees of freedom is x or more: the regularised
// upper incomplete gamma function of half of each, by its series below the bend and by its continued fraction above.
func chiSquare(x float64, freedom int) float64 {
	if freedom < 1 || x <= 0 {
		return 1
	}
	a, x := float64(freedom)/2, x/2
	logGamma, _ := math.Lgamma(a)
	front := math.Exp(a*math.Log(x) - x - logGamma)
	const steps, tiny = 10_000, 1e-15
	if x < a+1 {
		sum, term := 1/a, 1/a
		for i := 1; i < steps && term > sum*tiny; i++ {
			term *= x / (a + float64(i))
			sum += term
		}
		return max(0, 1-front*sum)
	}
	// Lentz's evaluation.
	b := x + 1 - a
	c, d := 1e300, 1/b
	h := d
	for i := 1; i < steps; i++ {
		an := -float64(i) * (float64(i) - a)
		b += 2
		d = 1 / (an*d + b)
		c = b + an/c
		h *= c * d
		if math.Abs(c*d-1) < tiny {
			break
		}
	}
	return front * h
}
