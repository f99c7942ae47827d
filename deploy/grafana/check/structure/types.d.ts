// Grafana's types as JSON has them: a member of an enumeration is its value.

type IsAny<T> = 0 extends 1 & T ? true : false;

/** What JSON may hold where Grafana's type wants `T`. */
export type Plain<T> = IsAny<T> extends true
  ? unknown
  : unknown extends T
    ? unknown
    : T extends string
      ? `${T}`
      : T extends number
        ? `${T}` extends `${infer N extends number}`
          ? N
          : T
        : T extends (infer E)[]
          ? Plain<E>[]
          : T extends object
            ? { [K in keyof T]: Plain<T[K]> }
            : T;

/** The same where a plugin's defaults stand in for what is left out. */
export type Some<T> = unknown extends T
  ? unknown
  : T extends (infer E)[]
    ? Some<E>[]
    : T extends object
      ? { [K in keyof T]?: Some<T[K]> }
      : T;

/** What the SDK writes for every variable although only intervals have it; Grafana ignores it elsewhere. */
export interface Automatic {
  auto?: boolean;
  auto_count?: number;
  auto_min?: string;
}
