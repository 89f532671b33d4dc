//! Owns which tables of PostgreSQL's catalogue have no rows here, and their columns: what they tell of does not
//! exist in a lake that is only read. `nothing` answers queries over them without planning.

/// `(name, columns)`; a column is a text unless it says otherwise: `n` number, `f` flag, `N` and `T` many.
pub(super) const WITHOUT_ROWS: &[(&str, &str)] = &[
    (
        "pg_index",
        "indexrelid:n indrelid:n indnatts:n indnkeyatts:n indisunique:f indnullsnotdistinct:f indisprimary:f \
         indisexclusion:f indimmediate:f indisclustered:f indisvalid:f indcheckxmin:f indisready:f indislive:f \
         indisreplident:f indkey:N indcollation:N indclass:N indoption:N indexprs indpred",
    ),
    (
        "pg_constraint",
        "oid:n conname connamespace:n contype condeferrable:f condeferred:f convalidated:f conrelid:n \
         contypid:n conindid:n conparentid:n confrelid:n confupdtype confdeltype confmatchtype conislocal:f \
         coninhcount:n connoinherit:f conkey:N confkey:N conpfeqop:N conppeqop:N conffeqop:N confdelsetcols:N \
         conexclop:N conbin",
    ),
    ("pg_attrdef", "oid:n adrelid:n adnum:n adbin"),
    (
        "pg_collation",
        "oid:n collname collnamespace:n collowner:n collprovider collisdeterministic:f collencoding:n \
         collcollate collctype colliculocale collversion",
    ),
    (
        "pg_policy",
        "oid:n polname polrelid:n polcmd polpermissive:f polroles:N polqual polwithcheck",
    ),
    (
        "pg_trigger",
        "oid:n tgrelid:n tgparentid:n tgname tgfoid:n tgtype:n tgenabled tgisinternal:f tgconstrrelid:n \
         tgconstrindid:n tgconstraint:n tgdeferrable:f tginitdeferred:f tgnargs:n tgattr:N tgargs tgqual \
         tgoldtable tgnewtable",
    ),
    (
        "pg_rewrite",
        "oid:n rulename ev_class:n ev_type ev_enabled is_instead:f ev_qual ev_action",
    ),
    (
        "pg_inherits",
        "inhrelid:n inhparent:n inhseqno:n inhdetachpending:f",
    ),
    (
        "pg_statistic_ext",
        "oid:n stxrelid:n stxname stxnamespace:n stxowner:n stxstattarget:n stxkeys:N stxkind:T stxexprs",
    ),
    (
        "pg_publication",
        "oid:n pubname pubowner:n puballtables:f pubinsert:f pubupdate:f pubdelete:f pubtruncate:f pubviaroot:f",
    ),
    ("pg_publication_namespace", "oid:n pnpubid:n pnnspid:n"),
    (
        "pg_publication_rel",
        "oid:n prpubid:n prrelid:n prqual prattrs:N",
    ),
    (
        "pg_subscription",
        "oid:n subdbid:n subname subowner:n subenabled:f",
    ),
    (
        "pg_partitioned_table",
        "partrelid:n partstrat partnatts:n partdefid:n partattrs:N partclass:N partcollation:N partexprs",
    ),
    ("pg_foreign_table", "ftrelid:n ftserver:n ftoptions:T"),
    (
        "pg_foreign_server",
        "oid:n srvname srvowner:n srvfdw:n srvtype srvversion srvacl:T srvoptions:T",
    ),
    (
        "pg_foreign_data_wrapper",
        "oid:n fdwname fdwowner:n fdwhandler:n fdwvalidator:n fdwacl:T fdwoptions:T",
    ),
    (
        "pg_proc",
        "oid:n proname pronamespace:n proowner:n prolang:n procost:n prorows:n provariadic:n prosupport prokind \
         prosecdef:f proleakproof:f proisstrict:f proretset:f provolatile proparallel pronargs:n \
         pronargdefaults:n prorettype:n proargtypes:N proallargtypes:N proargmodes:T proargnames:T \
         proargdefaults protrftypes:N prosrc probin prosqlbody proconfig:T proacl:T",
    ),
    (
        "pg_aggregate",
        "aggfnoid:n aggkind aggnumdirectargs:n aggtransfn aggfinalfn",
    ),
    (
        "pg_operator",
        "oid:n oprname oprnamespace:n oprowner:n oprkind oprleft:n oprright:n oprresult:n",
    ),
    (
        "pg_opclass",
        "oid:n opcmethod:n opcname opcnamespace:n opcintype:n opcdefault:f",
    ),
    (
        "pg_opfamily",
        "oid:n opfmethod:n opfname opfnamespace:n opfowner:n",
    ),
    (
        "pg_amop",
        "oid:n amopfamily:n amoplefttype:n amoprighttype:n amopstrategy:n amoppurpose amopopr:n amopmethod:n \
         amopsortfamily:n",
    ),
    (
        "pg_amproc",
        "oid:n amprocfamily:n amproclefttype:n amprocrighttype:n amprocnum:n amproc",
    ),
    ("pg_enum", "oid:n enumtypid:n enumsortorder:n enumlabel"),
    (
        "pg_range",
        "rngtypid:n rngsubtype:n rngmultitypid:n rngcollation:n rngsubopc:n",
    ),
    (
        "pg_cast",
        "oid:n castsource:n casttarget:n castfunc:n castcontext castmethod",
    ),
    ("pg_conversion", "oid:n conname connamespace:n conowner:n"),
    (
        "pg_sequence",
        "seqrelid:n seqtypid:n seqstart:n seqincrement:n seqmax:n seqmin:n seqcache:n seqcycle:f",
    ),
    (
        "pg_sequences",
        "schemaname sequencename sequenceowner data_type start_value:n min_value:n max_value:n",
    ),
    (
        "pg_depend",
        "classid:n objid:n objsubid:n refclassid:n refobjid:n refobjsubid:n deptype",
    ),
    ("pg_shdescription", "objoid:n classoid:n description"),
    (
        "pg_extension",
        "oid:n extname extowner:n extnamespace:n extrelocatable:f extversion",
    ),
    (
        "pg_language",
        "oid:n lanname lanowner:n lanispl:f lanpltrusted:f",
    ),
    (
        "pg_event_trigger",
        "oid:n evtname evtevent evtowner:n evtenabled",
    ),
    (
        "pg_default_acl",
        "oid:n defaclrole:n defaclnamespace:n defaclobjtype defaclacl:T",
    ),
    (
        "pg_auth_members",
        "roleid:n member:n grantor:n admin_option:f",
    ),
    ("pg_db_role_setting", "setdatabase:n setrole:n setconfig:T"),
    (
        "pg_indexes",
        "schemaname tablename indexname tablespace indexdef",
    ),
    (
        "pg_matviews",
        "schemaname matviewname matviewowner tablespace hasindexes:f ispopulated:f definition",
    ),
    ("pg_rules", "schemaname tablename rulename definition"),
    (
        "pg_policies",
        "schemaname tablename policyname permissive roles:T cmd qual with_check",
    ),
    (
        "pg_ts_config",
        "oid:n cfgname cfgnamespace:n cfgowner:n cfgparser:n",
    ),
    (
        "pg_ts_dict",
        "oid:n dictname dictnamespace:n dictowner:n dicttemplate:n dictinitoption",
    ),
    (
        "pg_ts_parser",
        "oid:n prsname prsnamespace:n prsstart prstoken prsend prsheadline prslextype",
    ),
    (
        "pg_ts_template",
        "oid:n tmplname tmplnamespace:n tmplinit tmpllexize",
    ),
    (
        "pg_user_mappings",
        "umid:n srvid:n srvname umuser:n usename umoptions:T",
    ),
    ("pg_largeobject_metadata", "oid:n lomowner:n lomacl:T"),
    (
        "pg_stat_activity",
        "datid:n datname pid:n usesysid:n usename application_name client_addr state query backend_type",
    ),
    (
        "pg_stat_user_tables",
        "relid:n schemaname relname seq_scan:n n_live_tup:n n_dead_tup:n last_vacuum last_analyze",
    ),
    (
        "pg_stat_all_tables",
        "relid:n schemaname relname seq_scan:n n_live_tup:n n_dead_tup:n last_vacuum last_analyze",
    ),
    (
        "pg_locks",
        "locktype database:n relation:n pid:n mode granted:f",
    ),
    (
        "pg_prepared_xacts",
        "transaction gid prepared owner database",
    ),
    ("pg_timezone_names", "name abbrev utc_offset is_dst:f"),
    (
        "information_schema_key_column_usage",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name column_name \
         ordinal_position:n position_in_unique_constraint:n",
    ),
    (
        "information_schema_table_constraints",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name \
         constraint_type is_deferrable initially_deferred enforced",
    ),
    (
        "information_schema_referential_constraints",
        "constraint_catalog constraint_schema constraint_name unique_constraint_catalog \
         unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
    ),
    (
        "information_schema_constraint_column_usage",
        "table_catalog table_schema table_name column_name constraint_catalog constraint_schema constraint_name",
    ),
    (
        "information_schema_constraint_table_usage",
        "table_catalog table_schema table_name constraint_catalog constraint_schema constraint_name",
    ),
    (
        "information_schema_check_constraints",
        "constraint_catalog constraint_schema constraint_name check_clause",
    ),
    (
        "information_schema_routines",
        "specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name \
         routine_type data_type routine_definition external_language",
    ),
    (
        "information_schema_parameters",
        "specific_catalog specific_schema specific_name ordinal_position:n parameter_mode parameter_name data_type",
    ),
    (
        "information_schema_triggers",
        "trigger_catalog trigger_schema trigger_name event_manipulation event_object_schema event_object_table \
         action_statement action_timing",
    ),
    (
        "information_schema_sequences",
        "sequence_catalog sequence_schema sequence_name data_type start_value increment",
    ),
    (
        "information_schema_domains",
        "domain_catalog domain_schema domain_name data_type",
    ),
    (
        "information_schema_element_types",
        "object_catalog object_schema object_name object_type collection_type_identifier data_type",
    ),
    (
        "information_schema_table_privileges",
        "grantor grantee table_catalog table_schema table_name privilege_type is_grantable with_hierarchy",
    ),
    (
        "information_schema_column_privileges",
        "grantor grantee table_catalog table_schema table_name column_name privilege_type is_grantable",
    ),
];

/// Whether a table of this name has no rows.
pub(super) fn is_without_rows(name: &str) -> bool {
    WITHOUT_ROWS.iter().any(|(known, _)| *known == name)
}
