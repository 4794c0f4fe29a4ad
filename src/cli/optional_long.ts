/**
 * A number that may be absent, as Kafka's tools print it.
 *
 * @param value The number.
 * @returns For example `OptionalLong[42]`.
 */
export function optionalLong(value: number | undefined): string {
  return value === undefined ? "OptionalLong.empty" : `OptionalLong[${value}]`;
}
