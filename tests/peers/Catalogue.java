// Reads what `idleproof serve` holds as tools do that rest on PostgreSQL's JDBC driver.
//
//     java -cp postgresql.jar Catalogue.java PORT
//
// Prints `ok`; an exception says the rest.

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.Statement;
import java.sql.Types;
import java.util.Map;
import java.util.TreeMap;

public class Catalogue {
    static void holds(boolean what, String why) {
        if (!what) {
            throw new AssertionError(why);
        }
    }

    static int rows(ResultSet rows) throws Exception {
        int count = 0;
        while (rows.next()) {
            count++;
        }
        return count;
    }

    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + args[0] + "/idleproof?user=ann&sslmode=disable";
        try (Connection db = DriverManager.getConnection(url)) {
            DatabaseMetaData about = db.getMetaData();
            holds(about.getDatabaseProductName().equals("PostgreSQL"), "product");
            holds(rows(about.getCatalogs()) == 1, "catalogs");
            holds(rows(about.getSchemas()) == 3, "schemas");
            holds(rows(about.getTableTypes()) > 0, "types of tables");
            holds(rows(about.getTypeInfo()) > 10, "types");
            about.getSQLKeywords();

            Map<String, String> tables = new TreeMap<>();
            ResultSet found = about.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"});
            while (found.next()) {
                tables.put(found.getString("TABLE_NAME"), found.getString("TABLE_TYPE"));
                if (found.getString("TABLE_NAME").equals("v_ledger")) {
                    holds(found.getString("REMARKS").contains("GPU-millisecond"), "remarks");
                }
            }
            holds("VIEW".equals(tables.get("v_findings")), "v_findings: " + tables);
            holds("TABLE".equals(tables.get("ledger")), "ledger: " + tables);

            Map<String, Integer> columns = new TreeMap<>();
            found = about.getColumns(null, "public", "v\\_ledger", "%");
            while (found.next()) {
                columns.put(found.getString("COLUMN_NAME"), found.getInt("DATA_TYPE"));
                if (found.getString("COLUMN_NAME").equals("effective_cost_usd")) {
                    holds(found.getInt("DECIMAL_DIGITS") > 0, "digits");
                }
            }
            holds(columns.get("hour") == Types.TIMESTAMP, "hour: " + columns);
            holds(columns.get("ms") == Types.BIGINT, "ms: " + columns);
            holds(columns.get("effective_cost_usd") == Types.NUMERIC, "cost: " + columns);
            holds(columns.get("class") == Types.VARCHAR, "class: " + columns);

            holds(rows(about.getPrimaryKeys(null, "public", "ledger")) == 0, "keys");
            holds(rows(about.getImportedKeys(null, "public", "ledger")) == 0, "imported keys");
            holds(rows(about.getExportedKeys(null, "public", "ledger")) == 0, "exported keys");
            holds(rows(about.getIndexInfo(null, "public", "ledger", false, true)) == 0, "indexes");
            holds(rows(about.getProcedures(null, null, "%")) == 0, "procedures");
            holds(rows(about.getFunctions(null, null, "%")) == 0, "functions");
            holds(rows(about.getTablePrivileges(null, "public", "v_ledger")) >= 0, "privileges");
            holds(rows(about.getBestRowIdentifier(null, "public", "ledger", 0, true)) == 0, "row");

            try (PreparedStatement some = db.prepareStatement(
                    "SELECT class, SUM(ms) AS ms FROM v_ledger WHERE class = ? GROUP BY class")) {
                some.setString(1, "dark");
                for (int time = 0; time < 7; time++) {
                    ResultSet row = some.executeQuery();
                    holds(row.next() && row.getLong("ms") > 0, "nothing is dark");
                    ResultSetMetaData shape = row.getMetaData();
                    holds(shape.getColumnTypeName(2).equals("int8"), shape.getColumnTypeName(2));
                    holds(shape.isNullable(1) >= 0 && !shape.isAutoIncrement(1), "shape");
                }
            }
            try (Statement all = db.createStatement()) {
                db.setAutoCommit(false);
                all.setFetchSize(50);
                holds(rows(all.executeQuery("SELECT * FROM v_ledger LIMIT 500")) == 500, "fetched");
                db.rollback();
            }
        }
        System.out.println("ok");
    }
}
