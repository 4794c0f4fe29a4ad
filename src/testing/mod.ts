/**
 * What a test of code that uses ottla needs: a simulated disk and clock.
 *
 * @module
 */

export {};
