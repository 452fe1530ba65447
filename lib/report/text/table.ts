/** A column of a table whose rows are of one kind. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
}

/** A table in Markdown: the rows by their titles, then the columns. */
export function table<Row>(
  corner: string,
  rows: readonly Row[],
  rowTitle: (row: Row) => string,
  columns: readonly Column<Row>[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const header = [corner, ...columns.map(({ title }) => title)];
  return [
    line(header),
    line(header.map(() => "---")),
    ...rows.map((row) =>
      line([rowTitle(row), ...columns.map(({ cell }) => cell(row))])
    ),
  ].join("\n");
}
