// What all views are written with: Preact, its hooks, and htm's templates instead of JSX.

import { h, render, Fragment } from "./preact.mjs";
import { useEffect, useRef, useState } from "./hooks.mjs";
import { default as htm } from "./htm.mjs";

export const html = htm.bind(h);
export { render, Fragment, useEffect, useRef, useState };
