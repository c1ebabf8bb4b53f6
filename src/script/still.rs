//! Modules in which nothing can change between two calls.
//!
//! What such a module makes when it is run is literals and functions, which can be frozen, and its names are never assigned to. So
//! there is nowhere that a call could leave something for the next, and it is run once. All that is not seen to be so at a glance is run
//! anew: what is called or constructed may hide what changes in a closure, classes in private members.

use std::collections::HashSet;

use oxc_ast::ast::{
    ArrayExpressionElement, AssignmentTargetPropertyIdentifier, BindingPattern, Declaration,
    ExportDefaultDeclarationKind, Expression, IdentifierReference, ObjectPropertyKind, Program, PropertyKind,
    RegExpFlags, SimpleAssignmentTarget, Statement, VariableDeclaration, VariableDeclarationKind,
};
use oxc_ast_visit::{Visit, walk};

/// The names of a still module, all of whose values have to be frozen; none of one that is not still.
pub fn still(program: &Program) -> Option<Vec<String>> {
    let mut assigned = Assigned::default();
    assigned.visit_program(program);
    let mut names = Names::default();
    let is_still = program.body.iter().all(|statement| names.statement(statement));
    let is_kept = |name: &String| !assigned.names.contains(name.as_str());
    (is_still && !assigned.has_arguments && names.bound.iter().all(is_kept)).then_some(names.bound)
}

/// All that is assigned to, in every scope.
#[derive(Default)]
struct Assigned<'a> {
    names: HashSet<&'a str>,
    /// Those of the function that a module is made into would be in its arrow functions' reach.
    has_arguments: bool,
}

impl<'a> Visit<'a> for Assigned<'a> {
    fn visit_simple_assignment_target(&mut self, target: &SimpleAssignmentTarget<'a>) {
        if let SimpleAssignmentTarget::AssignmentTargetIdentifier(identifier) = target {
            self.names.insert(identifier.name.as_str());
        }
        walk::walk_simple_assignment_target(self, target);
    }

    fn visit_assignment_target_property_identifier(&mut self, target: &AssignmentTargetPropertyIdentifier<'a>) {
        self.names.insert(target.binding.name.as_str());
        walk::walk_assignment_target_property_identifier(self, target);
    }

    fn visit_identifier_reference(&mut self, identifier: &IdentifierReference<'a>) {
        self.has_arguments |= identifier.name == "arguments";
    }
}

#[derive(Default)]
struct Names {
    bound: Vec<String>,
    /// Those that are neither objects nor functions.
    primitive: HashSet<String>,
}

impl Names {
    fn statement(&mut self, statement: &Statement) -> bool {
        match statement {
            Statement::EmptyStatement(_) | Statement::ImportDeclaration(_) | Statement::ExportAllDeclaration(_) => true,
            Statement::FunctionDeclaration(function) => self.bind(function.id.as_ref().map(|id| id.name.as_str())),
            Statement::VariableDeclaration(variables) => self.variables(variables),
            Statement::ExportNamedDeclaration(export) => match &export.declaration {
                None => true,
                Some(Declaration::FunctionDeclaration(function)) => {
                    self.bind(function.id.as_ref().map(|id| id.name.as_str()))
                }
                Some(Declaration::VariableDeclaration(variables)) => self.variables(variables),
                Some(_) => false,
            },
            Statement::ExportDefaultDeclaration(export) => {
                let own = match &export.declaration {
                    ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.id.as_ref(),
                    other if other.as_expression().is_some_and(|value| self.is_still(value)) => None,
                    _ => return false,
                };
                self.bind(Some(own.map_or(super::module::DEFAULT, |id| id.name.as_str())))
            }
            _ => false,
        }
    }

    fn bind(&mut self, name: Option<&str>) -> bool {
        self.bound.extend(name.map(str::to_owned));
        name.is_some()
    }

    fn variables(&mut self, variables: &VariableDeclaration) -> bool {
        use VariableDeclarationKind::{Const, Let, Var};
        matches!(variables.kind, Const | Let | Var)
            && variables.declarations.iter().all(|declarator| {
                let BindingPattern::BindingIdentifier(id) = &declarator.id else {
                    return false;
                };
                // A `var` may stand there twice.
                match declarator.init.as_ref().is_some_and(|init| self.is_primitive(init)) {
                    true => self.primitive.insert(id.name.to_string()),
                    false => self.primitive.remove(id.name.as_str()),
                };
                declarator.init.as_ref().is_none_or(|init| self.is_still(init)) && self.bind(Some(id.name.as_str()))
            })
    }

    /// Whether it is made of literals, functions and names alone, and calls nothing.
    fn is_still(&self, value: &Expression) -> bool {
        match value {
            Expression::FunctionExpression(_) | Expression::ArrowFunctionExpression(_) | Expression::Identifier(_) => {
                true
            }
            Expression::RegExpLiteral(pattern) => !pattern.regex.flags.intersects(RegExpFlags::G | RegExpFlags::Y),
            Expression::ParenthesizedExpression(inner) => self.is_still(&inner.expression),
            Expression::LogicalExpression(both) => self.is_still(&both.left) && self.is_still(&both.right),
            Expression::ConditionalExpression(choice) => [&choice.test, &choice.consequent, &choice.alternate]
                .into_iter()
                .all(|part| self.is_still(part)),
            Expression::ArrayExpression(array) => array.elements.iter().all(|element| match element {
                ArrayExpressionElement::SpreadElement(_) => false,
                ArrayExpressionElement::Elision(_) => true,
                element => element.as_expression().is_some_and(|value| self.is_still(value)),
            }),
            Expression::ObjectExpression(object) => object.properties.iter().all(|property| match property {
                ObjectPropertyKind::ObjectProperty(property) => {
                    property.kind == PropertyKind::Init && !property.computed && self.is_still(&property.value)
                }
                ObjectPropertyKind::SpreadProperty(_) => false,
            }),
            // There are no getters that it could call but the realm's own, which make nothing that changes.
            Expression::StaticMemberExpression(member) => self.is_still(&member.object),
            _ => self.is_primitive(value),
        }
    }

    /// Whether it is no object, nor made of one: those may have functions that are called when they are made a text or a number.
    fn is_primitive(&self, value: &Expression) -> bool {
        match value {
            Expression::BooleanLiteral(_)
            | Expression::NullLiteral(_)
            | Expression::NumericLiteral(_)
            | Expression::BigIntLiteral(_)
            | Expression::StringLiteral(_) => true,
            Expression::Identifier(identifier) => self.primitive.contains(identifier.name.as_str()),
            Expression::TemplateLiteral(template) => template.expressions.iter().all(|part| self.is_primitive(part)),
            Expression::UnaryExpression(unary) => self.is_primitive(&unary.argument),
            Expression::BinaryExpression(both) => self.is_primitive(&both.left) && self.is_primitive(&both.right),
            Expression::ParenthesizedExpression(inner) => self.is_primitive(&inner.expression),
            _ => false,
        }
    }
}
