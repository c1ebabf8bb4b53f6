export const halve = (n) => n / 2;
